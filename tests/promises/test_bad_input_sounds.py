"""Every sound file of bad_sounds.py in one corpus: the accepted give what went in, the others are in quarantine with their reason."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog.audio import load_clips
from tasks.catalog.found import BadFileError, Found, Recording, Refused
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry
from tasks.common.audio import Wave, resample, to_mono
from tasks.common.params import validate
from tests.catalog.catalog_project import NOISE, Project
from tests.promises.bad_sounds import EXACT, SOUNDS, Sound, encoded, flipped, tones

ENTRY = NOISE | {"pattern": r"(?s)(?P<noise_type>.+)", "segment_s": None, "duration_s": [0.05, 30.0], "licences": {}}
ENTRY |= {"split": {"field": "noise_type", "test": 0.2, "validation": 0.2}}


WHOLE = {
    form: encoded(tones(1, 1.0), "FLAC" if form == "FLAC" else "OGG", "PCM_16" if form == "FLAC" else form) for form in ("FLAC", "VORBIS", "OPUS")
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("sounds")
        patch.chdir(root)
        project = Project(root)
        for sound in SOUNDS:
            project.write(f"din/{sound.name}", sound.data)
        project.entry(ENTRY)
        project.use(noise=["din"])
        project.build()
    return project


def nearness_db(came_out: Wave, went_in: Wave) -> float:
    """Signal to error where both overlap, at the best of some delays: decoders of Opus are late by 40 microseconds at some rates."""
    fine, late = resample(came_out, 16_000, 48_000), resample(went_in, 16_000, 48_000)[100:-100]
    errors = [np.sum((fine[100 + lag :][: len(late)] - late) ** 2) for lag in range(-10, 11)]
    return float(10 * np.log10(np.sum(late**2) / min(errors)))


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.name)
def test_a_sound_file_gives_what_went_in_or_a_reason(sound: Sound, built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.root)
    path = f"din/{sound.name}"
    refused = {row["path"]: f"{row['reason']}: {row['detail']}" for row in built.rows("quarantine")}
    if sound.reason:
        assert refused.get(path, "accepted").startswith(f"{sound.reason}: ")
        return
    assert path not in refused, refused[path]
    (row,) = (row for row in built.rows("noise") if row["path"] == path)
    assert sound.went_in is not None
    came_out = load_clips([row])[row["clip_id"]]
    went_in = resample(to_mono(sound.went_in), sound.rate)
    if sound.near_db == EXACT:
        assert np.array_equal(came_out, went_in)
        return
    assert 0 <= len(came_out) - len(went_in) < 1024, "a block of ADPCM at most"
    assert nearness_db(came_out, went_in) > sound.near_db


@settings(max_examples=60, deadline=None, derandomize=True)
@given(form=st.sampled_from(["FLAC", "VORBIS", "OPUS"]), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_where_the_form_has_checksums(form: str, place: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, whole = tmp_path_factory.mktemp("flipped"), WHOLE[form]
    path = folder / f"x.{'flac' if form == 'FLAC' else 'ogg'}"
    path.write_bytes(whole)
    (before,) = read_folder(folder)
    path.write_bytes(flipped(whole, int(place * len(whole)), bit))
    (after,) = read_folder(folder)
    assert isinstance(before, Recording)
    if isinstance(after, Recording):
        assert after.rate == before.rate and np.array_equal(after.samples, before.samples)


def read_folder(folder: Path) -> list[Recording | Refused]:
    """What the catalog makes of the one sound file in a folder."""
    entry = validate(Entry, ENTRY, "x.yaml")
    (found,) = LAYOUTS["folder"].find(entry, folder)
    assert isinstance(found, Found)
    try:
        return list(LAYOUTS["folder"].read(entry, folder, found))
    except BadFileError as error:
        return [Refused(found.path, error.reason, error.detail)]


def test_no_file_is_lost(built: Project) -> None:
    rows, refused = [row["path"] for row in built.rows("noise")], [row["path"] for row in built.rows("quarantine")]
    assert sorted(rows + refused) == sorted(f"din/{sound.name}" for sound in SOUNDS)
