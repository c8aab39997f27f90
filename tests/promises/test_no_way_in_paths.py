"""Paths in manifests, archives and exports stay below their root: nothing outside is opened, whatever a table, a link or a file says."""

import csv
import gzip
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile as sf

from tasks.catalog import files
from tasks.catalog.audio import load_clips
from tasks.catalog.files import locate
from tasks.catalog.found import BadFileError, Found, Recording, Refused
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry
from tasks.common.errors import UserError
from tasks.common.params import validate
from tasks.common.tables import read_rows, write_parquet
from tasks.export.command import FORMS, export
from tasks.report.sections.listening import slugs_of
from tests.export import export_build

SECRET = "secret"  # in the name of everything outside
ENTRY: dict[str, Any] = {
    **{"corpus": "din", "kind": "noise", "layout": "folder", "root": "x", "pattern": ".+", "duration_s": [0.01, 60.0]},
    **{"split": {"field": "position", "test": 0.2, "validation": 0.2}, "licence": "CC0-1.0", "source": "https://example.org", "citation": "none"},
}
_opened: list[str] = []
sys.addaudithook(lambda event, args: _opened.append(str(args[0])) if event == "open" else None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus with one good file and links that leave it, beside what nobody is to read."""
    root = tmp_path / "x"
    (tmp_path / f"{SECRET}s").mkdir()
    root.mkdir()
    wave = np.random.default_rng(0).normal(0.0, 0.1, 4000)
    for path in (root / "a.wav", tmp_path / f"{SECRET}.wav", tmp_path / f"{SECRET}s/{SECRET}.wav"):
        sf.write(path, wave, 16000)
    (root / "link.wav").symlink_to(tmp_path / f"{SECRET}.wav")
    (root / "folder").symlink_to(tmp_path / f"{SECRET}s")
    (root / "up").symlink_to("..")
    return root


def seen() -> list[str]:
    return [path for path in _opened if SECRET in os.path.realpath(path)]


@pytest.fixture
def opened(root: Path) -> Iterator[Callable[[], list[str]]]:
    """What was opened from outside since the test began, its own files not counted."""
    _opened.clear()
    (root / "link.wav").read_bytes()
    assert seen(), "what is opened is noticed, through a link too"
    _opened.clear()
    yield seen
    _opened.clear()


def hostile(root: Path) -> list[str]:
    """Ways to name what is outside, and ways that other systems and formats would read so."""
    outside = root.parent / f"{SECRET}.wav"
    plain = [f"../{SECRET}.wav", str(outside), f"/{outside}", f"in/../../{SECRET}.wav", f"./../{SECRET}.wav", f"../x/../{SECRET}.wav"]
    linked = ["link.wav", f"folder/{SECRET}.wav", f"up/{SECRET}.wav"]
    elsewhere = [f"..\\{SECRET}.wav", f"C:\\{SECRET}.wav", f"%2e%2e/{SECRET}.wav", f"file://{outside}", f"~/{SECRET}.wav", f"$HOME/{SECRET}.wav"]
    return plain + linked + elsewhere


def found(root: Path, **changes: Any) -> tuple[list[str], list[str]]:
    """(paths of recordings, reasons of refusals) of all that an entry finds and reads."""
    entry = validate(Entry, ENTRY | changes, "x.yaml")
    layout, paths, reasons = LAYOUTS[entry.layout], [], []
    for one in layout.find(entry, root):
        for got in layout.read(entry, root, one) if isinstance(one, Found) else [one]:
            if isinstance(got, Recording):
                paths.append(got.path)
            else:
                reasons.append(got.reason)
    return paths, reasons


def test_no_name_of_a_manifest_leaves_the_root(root: Path, opened: Callable[[], list[str]]) -> None:
    assert (root / f"up/{SECRET}.wav").is_file() and (root / f"../{SECRET}.wav").is_file(), "there is something to be read"
    for name in [*hostile(root), f"a.wav\0/../../{SECRET}.wav", ""]:
        assert isinstance(locate(root, name), Refused), name
    assert opened() == []


@pytest.mark.parametrize("layout", ["table", "nemo", "kaldi", "lhotse"])
def test_no_layout_reads_what_its_manifest_names_outside(layout: str, root: Path, opened: Callable[[], list[str]]) -> None:
    names = ["a.wav", *hostile(root)]
    changes: dict[str, Any] = {"layout": "table", "table": {"path": "t.csv"}}
    if layout == "table":
        with (root / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["file"], *([name] for name in names)])
    elif layout == "nemo":
        (root / "t.json").write_text("".join(json.dumps({"audio_filepath": name}) + "\n" for name in [*names, f"\0../{SECRET}.wav"]))
        changes["table"] = {"path": "t.json", "file": "audio_filepath"}
    elif layout == "kaldi":
        (root / "wav.scp").write_text("".join(f"r{number} {name}\n" for number, name in enumerate([*names, f"cat ../{SECRET}.wav |"])))
        changes = {"layout": "kaldi", "manifests": ["."]}
    else:
        kinds = [("file", name) for name in names] + [("command", f"cat {root.parent}/{SECRET}.wav"), ("url", f"file://{root.parent}/{SECRET}.wav")]
        rows = [
            {
                **{"id": f"r{number}", "sampling_rate": 16000, "num_samples": 4000, "duration": 0.25, "channel_ids": [0]},
                "sources": [{"type": kind, "channels": [0], "source": source}],
            }
            for number, (kind, source) in enumerate(kinds)
        ]
        (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        changes = {"layout": "lhotse", "manifests": ["t.jsonl"]}
    paths, reasons = found(root, **changes)
    assert paths == ["a.wav"] and len(reasons) >= len(hostile(root))
    assert set(reasons) <= {"bad_path", "pipe", "no_label", "duplicate"} and opened() == []


def test_no_entry_takes_its_manifest_from_outside(root: Path, opened: Callable[[], list[str]]) -> None:
    """By `..`, and by a link that the corpus brings: what is outside would show in transcripts and quarantine."""
    outside = root.parent
    (outside / f"{SECRET}.csv").write_text("file,key\na.wav,1\n")
    (outside / f"{SECRET}.jsonl").write_text("{}\n")
    (outside / f"{SECRET}.txt").write_text("hush")
    (outside / f"{SECRET}s/wav.scp").write_text("r a.wav\n")
    (root / "t.csv").write_text("file,key\na.wav,1\n")
    for name in ("csv", "jsonl"):
        (root / f"linked.{name}").symlink_to(outside / f"{SECRET}.{name}")
    join = {"column": "key", "key": "key"}
    cases: list[dict[str, Any]] = [
        *({"layout": "table", "table": {"path": path}} for path in (f"../{SECRET}.csv", "linked.csv")),
        *({"layout": "table", "table": {"path": "t.csv", "join": {"path": path, **join}}} for path in (f"../{SECRET}.csv", "linked.csv")),
        *({"layout": "lhotse", "manifests": [path]} for path in (f"../{SECRET}.jsonl", "linked.jsonl", str(outside / f"{SECRET}.jsonl"))),
        *({"layout": "kaldi", "manifests": [path]} for path in (f"../{SECRET}s", "folder")),
    ]
    _opened.clear()
    for changes in cases:
        with pytest.raises(UserError, match="leaves the corpus' folder"):
            found(root, **changes)
    (root / "a.txt").symlink_to(outside / f"{SECRET}.txt")
    for path in (f"../{SECRET}.txt", "{stem}.txt"):
        entry = validate(Entry, ENTRY | {"pattern": "a.wav", "transcript": {"path": path}}, "x.yaml")
        one = next(iter(LAYOUTS["folder"].find(entry, root)))
        assert isinstance(one, Found) and "text" not in one.fields
    assert opened() == []
    for bad in ("..", "../x", "/etc", "a/../../b"):
        with pytest.raises(UserError, match="below the corpora folder"):
            validate(Entry, ENTRY | {"root": bad}, "x.yaml")


def sofa(path: Path, fill: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "w") as file:
        file["Data.SamplingRate"], file["SourcePosition"] = np.array([16000.0]), np.zeros((1, 3))
        fill(file)
    return path


SHAPE = (1, 1, 400)


def external(path: Path) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset("Data.IR", SHAPE, "<f4", external=[(str(path), 0, 1600)]) and None


def virtual(path: Path) -> Callable[[h5py.File], None]:
    layout = h5py.VirtualLayout(SHAPE, "<f4")
    layout[:] = h5py.VirtualSource(str(path), "Data.IR", SHAPE)
    return lambda file: file.create_virtual_dataset("Data.IR", layout) and None


def linked(link: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.__setitem__("Data.IR", link)


def inflated(file: h5py.File) -> None:
    file.create_dataset("Data.IR", (1, 1, 10**8), "<f4", compression="gzip", chunks=(1, 1, 10**6), fillvalue=0.0)


@pytest.mark.parametrize("kind", ["external storage", "virtual", "external link", "soft link", "inflated"])
def test_a_sofa_file_gives_only_what_is_in_it(kind: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 has four ways to name another file, and one of a hundred kilobytes may stand for terabytes."""
    other = sofa(root.parent / f"{SECRET}.sofa", lambda file: file.__setitem__("Data.IR", np.ones(SHAPE, np.float32)))
    (raw := root.parent / f"{SECRET}.raw").write_bytes(np.ones(400, "<f4").tobytes())
    ways = {
        "external storage": external(raw),
        "virtual": virtual(other),
        "external link": linked(h5py.ExternalLink(str(other), "Data.IR")),
        "soft link": linked(h5py.SoftLink("/Data.SamplingRate")),
        "inflated": inflated,
    }
    path = sofa(root / "r.sofa", ways[kind])
    if kind in ("external storage", "virtual", "external link"):
        with h5py.File(path) as file:
            assert file["Data.IR"][0, 0, 0] == 1.0, "without a check it would be read"
    with pytest.raises(BadFileError, match=r"Data\.IR (is a link|is no array of this file|takes 400000000 bytes)"):
        found(root, layout="sofa")
    monkeypatch.setattr("tasks.catalog.audio.corpora_root", lambda: root.parent)
    with pytest.raises(ValueError, match=r"Data\.IR"):
        load_clips([{"clip_id": "1", "path": "x/r.sofa#0/0", "sampling_rate": 16000}])


def test_a_gzipped_manifest_unpacks_to_no_more_than_is_reasonable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROOM", 1000)
    with gzip.open(root / "t.jsonl.gz", "wb") as file:
        file.write(b" " * 20 * 2**20)
    tight = (root / "t.jsonl.gz").stat().st_size
    assert tight * files.RATIO < 20 * 2**20
    for changes in ({"layout": "table", "table": {"path": "t.jsonl.gz"}}, {"layout": "lhotse", "manifests": ["t.jsonl.gz"]}):
        with pytest.raises(UserError, match="bytes that unpack to more than"):
            found(root, **changes)
    with gzip.open(root / "t.jsonl.gz", "wt") as text:
        text.writelines(json.dumps({"file": "a.wav" if number == 0 else f"none{number}.wav"}) + "\n" for number in range(300))
    assert found(root, layout="table", table={"path": "t.jsonl.gz"})[0] == ["a.wav"]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_stays_in_its_folder_whatever_things_are_called(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export_build.build(tmp_path)
    evil = "../../x\n/etc/y|\0z\u202e"
    speech = [row | {"speaker": f"{evil} {row['speaker']}", "corpus": evil} for row in read_rows(Path("data/catalog/speech.parquet"))]
    write_parquet(Path("data/catalog/speech.parquet"), speech, export_build.SPEECH)
    for path in sorted(Path("data/curriculum").rglob("*.parquet")):
        rows = [row | {"noise_type": evil, "item_id": evil} for row in read_rows(path)]
        write_parquet(path, rows, export_build.SCHEMA)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="item_id is"):
        export(form, out=Path("out"))
    assert set(tmp_path.rglob("*")) == before
    for path in sorted(Path("data/curriculum").rglob("*.parquet")):
        write_parquet(path, [row | {"item_id": f"{number:016x}"} for number, row in enumerate(read_rows(path))], export_build.SCHEMA)
    export(form, out=Path("out"))
    made = set(tmp_path.rglob("*")) - before
    assert made and all(path.is_relative_to(tmp_path / "out") for path in made)
    names = [str(path.relative_to(tmp_path)) for path in made]
    for archive in (path for path in made if path.suffix == ".tar"):
        with tarfile.open(archive) as members:
            names += members.getnames()
    assert names and all(name.isprintable() and ".." not in Path(name).parts and not name.startswith("/") for name in names)


def test_pages_of_noise_types_have_names_of_letters_and_digits() -> None:
    slugs = slugs_of(["../../x", "a/b", "a b", "..", "", "<script>", "x\ny", "C:\\x"])
    assert len(set(slugs.values())) == len(slugs)
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for slug in slugs.values())
