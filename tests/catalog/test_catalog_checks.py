"""What is refused after decoding and what is let pass; and files that are not what their name says."""

import numpy as np
import pytest
import soundfile as sf
from catalog_project import DIGITS, NOISE, Project, as_wav, sound
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog.checks import check, clipped_share, wrong_extension
from tasks.catalog.found import Recording, Samples
from tasks.common.errors import UserError

SECONDS = np.arange(16000) / 16000


def reason(samples: Samples) -> str | None:
    refused = check(Recording("x.wav", samples.astype(np.float32).reshape(len(samples), -1), 16000, "", {}), (0.1, 30.0))
    return refused and refused.reason


def tone(hertz: float, peak: float = 1.0) -> Samples:
    """A sine rounded to 16 bits."""
    return np.asarray(np.round(np.clip(peak * np.sin(2 * np.pi * hertz * SECONDS), -1, 32767 / 32768) * 32768) / 32768, np.float32)


@pytest.mark.parametrize("hertz", [10, 50, 440, 4000])
def test_clipping_is_flat_not_merely_loud(hertz: float) -> None:
    assert reason(tone(hertz)) is None
    assert reason(tone(hertz, 3.0)) == ("clipped" if hertz < 4000 else None)  # four samples a period leave no run of three
    assert reason(np.stack([tone(hertz, 0.5), tone(hertz, 0.1)], axis=1)) is None


@given(run=st.integers(1, 60), at=st.integers(0, 900), value=st.sampled_from([1.0, -1.0, 0.985, 0.9]), channels=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_clipped_samples_are_counted(run: int, at: int, value: float, channels: int) -> None:
    samples = sound(1, 1000 / 8000, channels=channels)
    samples[at : at + run, -1] = value
    expected = run if run >= 3 and abs(value) > 0.98 else 0
    assert clipped_share(samples) == min(expected, len(samples) - at if len(samples) - at >= 3 else 0) / samples.size


@pytest.mark.parametrize(("constant", "expected"), [(0.0, None), (0.1, None), (0.25, None), (0.4, "dc_offset"), (-0.4, "dc_offset")])
def test_a_constant_that_dwarfs_the_sound(constant: float, expected: str | None) -> None:
    assert reason(sound(1, 1.0) + constant) == expected  # the sound is 0.1 RMS


def test_silence_beside_quiet_sound() -> None:
    assert reason(np.zeros(16000)) == reason(sound(1, 1.0) * 1e-5) == "silent"
    assert reason(sound(1, 1.0) * 1e-2) is None


HEADS = {
    "a.wav": b"RIFF....WAVE",
    "b.WAV": b"NIST_1A\n   1024\n",
    "c.wav": b"RF64....WAVE",
    "d.flac": b"fLaC\0",
    "e.mp3": b"\xff\xfb\x90\x64",
    "f.mp3": b"ID3\x03",
    "g.ogg": b"OggS",
    "h.opus": b"OggS",
    "i.aiff": b"FORM....AIFF",
    "j.sph": b"NIST_1A\n",
    "k.parquet": b"PAR1",
}


@pytest.mark.parametrize("name", HEADS)
def test_right_extensions_pass(name: str) -> None:
    assert wrong_extension(name, HEADS[name]) == ""
    assert wrong_extension(name, b"") == wrong_extension(name, b"\0\1\2\3") == ""  # the decoder says what it is


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("a.wav", b"\xff\xfb\x90\x64", "MPEG"),
        ("a.wav", b"ID3\x03", "ID3"),
        ("a.wav", b"OggS", "Ogg"),
        ("a.flac", b"RIFF....WAVE", "RIFF"),
        ("a.flac", b"<!DOCTYPE html>\n<html>", "text"),
        ("a.ogg", b"version https://git-lfs.github.com/spec/v1", "text"),
        ("a.mp3", b"\0\0\0\x20ftypM4A ", "MP4"),
        ("a.wav", b"PK\x03\x04", "ZIP"),
    ],
)
def test_wrong_extensions_are_told(name: str, head: bytes, form: str) -> None:
    assert form in wrong_extension(name, head)


def test_a_renamed_file_is_judged_by_its_new_name(project: Project) -> None:
    project.entry(NOISE)
    sf.write(project.corpora / "tone", sound(1, 4.0, 16000), 16000, format="MP3")
    project.write("din/rain.mp3", b"")
    (project.corpora / "tone").rename(project.corpora / "din/rain.wav")
    (project.corpora / "din/rain.mp3").unlink()
    project.write("din/wind.flac", b"404 Not Found: the file you asked for\n")
    project.write("din/hum.wav", as_wav(sound(2, 4.0)))
    project.use(noise=["din"])
    project.build()
    assert project.refused() == {"din/rain.wav": "wrong_extension", "din/wind.flac": "wrong_extension"}
    project.entry(NOISE, pattern=r"(?P<noise_type>[a-z]+)\.(?:wav|flac|mp3)")
    (project.corpora / "din/rain.wav").rename(project.corpora / "din/rain.mp3")
    assert project.build().done["files"] == 1
    assert project.refused() == {"din/wind.flac": "wrong_extension"}


def test_a_rotten_corpus_stops_the_build_and_shows_why(project: Project) -> None:
    project.digits()
    for number in range(9):
        project.write(f"digits/0_ann_1{number}.wav", as_wav(np.zeros((4000, 1), np.float32)))
        project.write(f"digits/0_bob_1{number}.wav", as_wav(sound(number, 2.0)))  # too long: what the entry asks, no damage
        project.write(f"digits/notes-{number}.wav", as_wav(sound(number)))  # of another kind
    project.use(speech=["digits"], max_quarantine_share=0.17)
    project.build()
    assert len(project.refused()) == 27
    project.write("digits/0_ann_19.wav", b"RIFF")  # nothing else
    what = r"corpus digits: 18\.2 % .*\(9 silent, 1 unreadable\), at most 17 %.*data/catalog/quarantine.parquet"
    with pytest.raises(UserError, match=what) as caught:
        project.build()
    assert "\n" not in str(caught.value)
    assert len(project.refused()) == 28
    project.use(speech=["digits"], max_quarantine_share=0.19)
    project.build()


def test_what_an_entry_leaves_out_is_not_rot(project: Project) -> None:
    project.digits()
    project.entry(DIGITS, pattern=r"(?P<digit>[0])_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav")
    project.use(speech=["digits"], max_quarantine_share=0.0)
    project.build()
    assert set(project.refused().values()) == {"no_label"} and len(project.refused()) == 24
