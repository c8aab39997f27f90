"""Only what changed is opened again, counted in files decoded and hashed; and the tables never tell how they were reached."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from catalog_project import DIGITS, NOISE, Project, as_wav, sound

from tasks.catalog import index, scan
from tasks.common.errors import UserError
from tasks.common.fanout import in_workers

FILES = 36 + 3


@pytest.fixture
def built(project: Project) -> Project:
    project.digits()
    project.entry(NOISE)
    project.write("din/rain.wav", as_wav(sound(1, 6.5, 16000, 2), 16000))
    project.write("din/deep/hum.wav", as_wav(sound(2, 1.4, 11025), 11025))
    project.write("din/wind.wav", as_wav(sound(3, 4.0)))
    project.use(speech=["digits"], noise=["din"])
    assert work(project) == (FILES, FILES)
    return project


def work(project: Project) -> tuple[int, int]:
    """Run the stage: files decoded, files hashed."""
    done = project.build().done
    return done["files"], done["hashed"]


def afresh(project: Project) -> dict[str, bytes]:
    """What a build that remembers nothing makes."""
    shutil.rmtree("data")
    project.build()
    return project.snapshot()


def test_an_unchanged_tree_opens_nothing(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = built.snapshot()
    monkeypatch.setattr(scan, "LAYOUTS", {"folder": scan.LAYOUTS["folder"]._replace(read=pytest.fail)})
    monkeypatch.setattr(scan, "file_sha256", pytest.fail)
    counts = built.build()
    assert counts.done["files"] == counts.done["hashed"] == counts.done["utterances"] == 0
    assert counts.reused == {"files": FILES, "utterances": 24}
    assert built.snapshot() == before


def test_touched_files_are_hashed_not_decoded(built: Project) -> None:
    before = built.snapshot()
    for path in built.corpora.rglob("*.wav"):
        os.utime(path, ns=(1, 1))
    assert work(built) == (0, FILES)
    assert work(built) == (0, 0)
    assert built.snapshot() == before


def test_renamed_files_are_not_decoded(built: Project) -> None:
    (built.corpora / "din/deep").rename(built.corpora / "din/zebra")
    for take in (3, 2, 1, 0):  # every name but the last is that of another file now
        (built.corpora / f"digits/0_ann_{take}.wav").rename(built.corpora / f"digits/0_ann_{take + 1}.wav")
    assert work(built) == (0, 5)
    assert built.snapshot() == afresh(built)


def test_names_that_are_exchanged_decode_nothing(built: Project) -> None:
    one, other, aside = (built.corpora / f"digits/{name}.wav" for name in ("0_ann_0", "1_bob_1", "aside"))
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    assert work(built) == (0, 2)
    assert built.snapshot() == afresh(built)


def test_one_added_one_decoded_and_one_removed_none(built: Project) -> None:
    before = {row["clip_id"]: row for row in built.rows("noise")}
    built.write("din/creek.wav", as_wav(sound(50, 4.0)))
    assert work(built) == (1, 1)
    rows = {row["clip_id"]: row for row in built.rows("noise")}
    assert len(rows) == len(before) + 4 and {clip: rows[clip] for clip in before} == before
    assert built.snapshot() == afresh(built)
    (built.corpora / "din/creek.wav").unlink()
    assert work(built) == (0, 0)
    assert {row["clip_id"]: row for row in built.rows("noise")} == before


def test_one_edited_one_decoded_even_at_the_same_size(built: Project) -> None:
    path = built.corpora / "digits/0_ann_0.wav"
    size = path.stat().st_size
    path.write_bytes(as_wav(sound(999)))
    assert path.stat().st_size == size
    counts = built.build()
    assert (counts.done["files"], counts.done["hashed"]) == (1, 1)
    assert 0 < counts.done["utterances"] < 24  # the utterances of one speaker
    assert built.snapshot() == afresh(built)


@pytest.mark.parametrize(
    "change",
    [
        {"licence": "CC-BY-4.0"},
        {"licences": {"0_ann_0": "CC-BY-NC-4.0"}},
        {"citation": "somebody", "source": "https://example.com"},
        {"labels": {"digit": {"0": "nought", "1": "one", "2": "two"}}},
        {"split": {"field": "speaker", "test": ["bob"], "validation": 0.25, "validation_field": "take"}},
        {"pattern": r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<number>\d+)\.wav", "split": {"field": "speaker", "test": ["cyd"], "validation": 0.25}},
    ],
)
def test_what_only_describes_decodes_nothing(built: Project, change: dict[str, object]) -> None:
    before = built.snapshot()
    built.entry(DIGITS, **change)
    assert work(built) == (0, 0)
    assert built.snapshot() != before
    assert built.snapshot() == afresh(built)


def test_a_licence_line_composes_nothing(built: Project) -> None:
    shards = {name: data for name, data in built.snapshot().items() if "utterances" in name}
    built.entry(DIGITS, licence="CC-BY-4.0", licences={"0_ann_0": "CC0-1.0"})
    assert built.build().done["utterances"] == 0
    utterances = [row for row in built.rows("speech") if row["kind"] == "utterance"]
    assert {row["licence"] for row in utterances} == {"CC-BY-4.0", "CC-BY-4.0 AND CC0-1.0"}
    assert {name: data for name, data in built.snapshot().items() if "utterances" in name} == shards


def test_what_decides_a_recording_decodes_again(built: Project) -> None:
    built.entry(NOISE, segment_s=2.0)
    assert work(built) == (3, 0)  # the bytes are known
    assert built.snapshot() == afresh(built)


def test_moved_and_copied_corpora_decode_nothing(built: Project) -> None:
    (built.corpora / "digits").rename(built.corpora / "numbers")
    built.entry(DIGITS, root="numbers")
    assert work(built) == (0, 0)
    shutil.copytree(built.corpora, built.root / "elsewhere")
    built.corpora = built.root / "elsewhere"
    built.use(speech=["digits"], noise=["din"])
    assert work(built) == (0, FILES)
    assert built.snapshot() == afresh(built)


def test_a_killed_scan_goes_on_where_it_stopped(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = built.snapshot()
    shutil.rmtree("data")
    monkeypatch.setattr(scan, "SHARD_FILES", 10)

    def killed(work, jobs, label):  # type: ignore[no-untyped-def]
        for job in jobs[:2]:
            work(job)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built.build(killed)
    assert work(built) == (FILES - 20, FILES - 20)
    assert built.snapshot() == whole


def test_shards_batches_and_workers_change_no_byte(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = built.snapshot()
    monkeypatch.setattr(scan, "SHARD_FILES", 3)
    monkeypatch.setattr(scan, "BATCH", 5)
    assert afresh(built) == whole
    assert work(built) == (0, 0)
    monkeypatch.setenv("WORKERS", "2")
    shutil.rmtree("data")
    built.build(in_workers)
    assert built.snapshot() == whole


def test_names_that_sort_otherwise_than_their_parts(built: Project) -> None:
    names = ["a/rain.wav", "a-b/rain.wav", "a.wav", "a\u00e9/rain.wav", "a\U0001f327/rain.wav"]  # "-" and "." come before "/"
    for number, name in enumerate(names):
        built.write(f"din/{name}", as_wav(sound(number + 60, 4.0)))
    assert work(built) == (5, 5)
    assert work(built) == (0, 0)
    assert {row["path"].partition("@")[0] for row in built.rows("noise")} >= {f"din/{name}" for name in names}
    for name in names:
        (built.corpora / "din" / name).unlink()
        assert work(built) == (0, 0)
        assert not any(row["path"].startswith(f"din/{name}") for row in built.rows("noise"))


def test_an_index_that_is_none_or_of_another_version_is_made_anew(built: Project) -> None:
    whole = built.snapshot()
    Path("data/scan/noise-din.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 40)
    with sqlite3.connect("data/scan/speech-digits.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    assert work(built) == (FILES, FILES)
    assert built.snapshot() == whole


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("database or disk is full", "No space left on device.*run the same command again"),
        ("attempt to write a readonly database", "data/scan.*readonly.*delete the folder"),
    ],
)
def test_an_index_that_cannot_be_written_is_named(fault: str, said: str, built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise sqlite3.OperationalError(fault)

    monkeypatch.setattr(index, "_connect", refused)
    with pytest.raises(UserError, match=said):
        built.build()


def test_a_file_that_could_not_be_read_is_tried_again(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    built.write("din/creek.wav", as_wav(sound(50, 4.0)))
    hashing = scan.file_sha256

    def refused(path: Path) -> str:
        if path.name == "creek.wav":
            raise PermissionError(13, "Permission denied")
        return hashing(path)

    with monkeypatch.context() as patch:
        patch.setattr(scan, "file_sha256", refused)
        patch.setattr(scan, "_result", lambda job, found: [[], [["", "unreadable", "Permission denied"]]])
        built.build()
    assert built.refused() == {"din/creek.wav": "unreadable"}
    assert work(built) == (1, 1)
    assert built.refused() == {}


def test_an_edited_row_of_a_manifest_decodes_nothing(project: Project) -> None:
    entry = DIGITS | {"corpus": "talks", "layout": "table", "unit": "utterance", "text": "text", "compose": None, "labels": {}}
    entry |= {"table": {"path": "texts.csv", "start": "start", "end": "end"}, "pattern": r"(?P<speaker>\w+)-\d+\.wav", "duration_s": [0.1, 5.0]}
    entry |= {"split": {"field": "speaker", "test": [], "validation": 0.3}}
    project.entry(entry)
    for number, name in enumerate(["ann-1", "bob-1"]):
        project.write(f"digits/{name}.wav", as_wav(sound(number, 2.0)))
    rows = "file,start,end,text\nann-1.wav,0,1,one\nann-1.wav,1,2,{}\nbob-1.wav,,,three\n"
    project.write("digits/texts.csv", rows.format("two").encode())
    project.use(speech=["talks"])
    assert work(project) == (2, 2)
    assert sorted(row["text"] for row in project.rows("speech")) == ["one", "three", "two"]
    project.write("digits/texts.csv", rows.format("deux").encode())
    assert work(project) == (0, 0)
    assert {row["path"].rpartition("/")[2]: row["text"] for row in project.rows("speech")} == {
        "ann-1.wav@0-8000": "one",
        "ann-1.wav@8000-16000": "deux",
        "bob-1.wav": "three",
    }
    project.write("digits/texts.csv", rows.format("deux").replace("0,1,one", "0,0.5,one").encode())
    assert work(project) == (1, 0)  # other stretches of one file
