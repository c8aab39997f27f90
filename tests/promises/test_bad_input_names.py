"""Whatever lies in the folder of a corpus is in a table or in quarantine, nothing is waited for, and what is accepted can be read by its path."""

import multiprocessing
import os
import sys
import tempfile
import traceback
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.catalog.audio import load_clips
from tasks.catalog.found import Found, Recording
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry
from tasks.common.params import validate
from tests.catalog.catalog_project import NOISE, Project
from tests.promises.bad_names import NAMES, THINGS, Name, Thing
from tests.promises.bad_sounds import encoded, fmt, riff, tones

ENTRY = NOISE | {"pattern": r"(?s)(?P<noise_type>.+)", "segment_s": None, "duration_s": [0.05, 30.0], "licences": {}}
ENTRY |= {"split": {"field": "noise_type", "test": 0.2, "validation": 0.2}}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("names")
        patch.chdir(root)
        project = Project(root)
        project.write("din/whole.wav", encoded(tones(0), "WAV"))
        project.write("din/folder.wav/inside.wav", encoded(tones(1), "WAV"))
        for seed, one in enumerate(NAMES, start=2):
            Path(os.fsdecode(os.fsencode(project.corpora / "din") + b"/" + one.name)).write_bytes(encoded(tones(seed), "WAV"))
        for thing in THINGS:
            thing.make(project.corpora / "din" / thing.name)
        project.entry(ENTRY)
        project.use(noise=["din"])
        project.build()
    return project


@pytest.mark.timeout(60)
@pytest.mark.parametrize("one", NAMES, ids=lambda one: one.what)
def test_a_name_is_kept_as_it_is_or_refused(one: Name, built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.root)
    if one.reason:
        assert built.refused()[f"din/{one.shown}"] == one.reason
        return
    (row,) = (row for row in built.rows("noise") if row["path"] == f"din/{one.shown}")
    went_in = tones(2 + NAMES.index(one))
    assert row["noise_type"] == one.shown.strip() and np.array_equal(load_clips([row])[row["clip_id"]], went_in[:, 0])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.what)
def test_what_is_no_recording_is_refused(thing: Thing, built: Project) -> None:
    refused = built.refused()
    if thing.reason == "duplicate":  # the first of both by name is kept
        assert refused["din/whole.wav"] == "duplicate" and {"din/hard.wav"} <= {row["path"] for row in built.rows("noise")}
    else:
        assert refused[f"din/{thing.name}"] == thing.reason


def test_nothing_in_the_folder_is_lost(built: Project) -> None:
    told = sorted([row["path"] for row in built.rows("noise")] + list(built.refused()))
    on_disk = {entry.name for entry in os.scandir(os.fsencode(built.corpora / "din"))} - {b"folder.wav"}
    assert told == sorted([f"din/{name.decode('utf-8', 'replace')}" for name in on_disk] + ["din/folder.wav/inside.wav"])


def _as_nobody(work: Any, folder: Path) -> int:
    """The exit status of `work(folder)` in a process that may read only what everybody may."""

    def child() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            work(folder)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)  # what the session of tests has registered for its own end is not this process's to do

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def _build_in(folder: Path) -> None:
    os.chdir(folder)
    project = Project.__new__(Project)
    project.root, project.corpora = folder, folder / "sounds"
    project.build()
    assert project.refused() == {"din/secret.wav": "unreadable", "din/locked": "unreadable"}, project.refused()
    assert [row["path"] for row in project.rows("noise")] == ["din/open.wav"]
    (folder / "sounds/din/secret.wav").chmod(0o644) if os.geteuid() == (folder / "sounds/din/secret.wav").stat().st_uid else None


def test_what_may_not_be_read_is_refused_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:  # that of pytest is closed to others
        root = Path(name)
        monkeypatch.chdir(root)
        project = Project(root)
        for seed, path in enumerate(("open.wav", "secret.wav", "locked/inside.wav")):
            project.write(f"din/{path}", encoded(tones(seed), "WAV"))
        project.entry(ENTRY)
        project.use(noise=["din"])
        for path in [root, *root.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o644)
        (project.corpora / "din/secret.wav").chmod(0)
        (project.corpora / "din/locked").chmod(0)
        assert _as_nobody(_build_in, root) == 0
        (project.corpora / "din/locked").chmod(0o777)
        (project.corpora / "din/secret.wav").chmod(0o644)
        project.build()
        assert project.refused() == {} and len(project.rows("noise")) == 3


def _read(folder: Path, **changes: Any) -> tuple[list[int], int]:
    """Frames of every recording, and the peak of memory in bytes."""
    one = validate(Entry, ENTRY | changes, "x.yaml")
    tracemalloc.start()
    try:
        frames = []
        for found in LAYOUTS[one.layout].find(one, folder):
            assert isinstance(found, Found)
            frames += [len(got.samples) if isinstance(got, Recording) else -1 for got in LAYOUTS[one.layout].read(one, folder, found)]
        return frames, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_hour_takes_no_more_memory_than_its_longest_stretch(tmp_path: Path) -> None:
    codes = np.random.default_rng(3).integers(0, 256, 3600 * 8000, np.uint8)
    (tmp_path / "hour.wav").write_bytes(riff(fmt(7, 8, 1, 8000), (b"data", codes.tobytes())))
    del codes
    frames, peak = _read(tmp_path, segment_s=60.0, duration_s=[0.2, 4000.0], split=NOISE["split"])
    assert frames == [60 * 8000] * 60 and peak < 16e6, "60 s of float32 are 2 MB, an hour of it 115 MB"
    frames, peak = _read(tmp_path)
    assert frames == [-1] and peak < 1e6, "too long for its entry: refused by its header"
    with (tmp_path / "hour.wav").open("r+b") as file:
        file.truncate(44 + 1000)
        file.truncate(44 + 3600 * 8000)  # a hole of an hour
    frames, peak = _read(tmp_path, segment_s=60.0, duration_s=[0.2, 4000.0], split=NOISE["split"])
    assert frames == [60 * 8000] * 60 and peak < 16e6
