"""What the layouts promise: cuts, manifests, transcripts and shards give the right samples; no path leaves its root; the order is fixed."""

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from catalog_layouts_trees import Tree, encoded, sofa_file, sound
from catalog_project import NOISE
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog.audio import load_clips
from tasks.catalog.files import below, listing, locate
from tasks.catalog.found import BadFileError, Found, Recording, Refused
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry
from tasks.catalog.sound_files import SoundReader
from tasks.common.audio import resample, to_mono
from tasks.common.errors import UserError
from tasks.common.params import validate

BASE: dict[str, Any] = NOISE | {"segment_s": None, "pattern": ".+", "split": {"field": "text", "test": 0.2, "validation": 0.2}, "root": "x"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr("tasks.catalog.audio.corpora_root", lambda: tmp_path)
    (tmp_path / "x").mkdir()
    return Tree(tmp_path / "x")


def entry(**changes: Any) -> Entry:
    return validate(Entry, BASE | changes, "x.yaml")


def find(tree: Tree, **changes: Any) -> list[Found | Refused]:
    one = entry(**changes)
    return list(LAYOUTS[one.layout].find(one, tree.root))


def read(tree: Tree, **changes: Any) -> tuple[dict[str, Recording], dict[str, str]]:
    """Recordings and the reasons of refusals by path; every recording is also what load_clips reads there."""
    one = entry(**changes)
    recordings: dict[str, Recording] = {}
    reasons: dict[str, str] = {}
    for found in LAYOUTS[one.layout].find(one, tree.root):
        for got in [found] if isinstance(found, Refused) else LAYOUTS[one.layout].read(one, tree.root, found):
            if isinstance(got, Recording):
                recordings[got.path] = got
            else:
                reasons[got.path] = got.reason
    rows = [{"clip_id": path, "path": f"x/{path}", "sampling_rate": got.rate} for path, got in recordings.items()]
    for path, wave in load_clips(rows).items():
        assert np.array_equal(wave, resample(to_mono(recordings[path].samples), recordings[path].rate)), path
    return recordings, reasons


def texts(recordings: dict[str, Recording]) -> dict[str, str]:
    return {path: got.fields.get("text", "") for path, got in recordings.items()}


# ---- folders


def test_a_folder_is_walked_by_name_and_streamed_with_one_stat(tree: Tree) -> None:
    names = ["b.wav", "a/z.wav", "a/b/c.wav", "a.wav", "a-b.wav", "a/A.wav", "ä.wav", "a/b.wav"]
    tree.sounds(*names, seconds=0.1)
    tree.write(".git/hidden.wav", b"x")
    tree.write("notes.txt", b"x")
    found = [one for one in find(tree) if isinstance(one, Found)]
    assert [one.path for one in found] == sorted(names, key=lambda name: name.split("/"))
    status = (tree.root / "a/b/c.wav").stat()
    (one,) = (one for one in found if one.path == "a/b/c.wav")
    assert (one.size, one.mtime_ns, one.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)
    assert next(listing(tree.root, (".wav",))).path == "a/A.wav"


def test_links_may_not_leave_the_folder(tree: Tree) -> None:
    tree.sounds("in/a.wav", seconds=0.1)
    outside = tree.root.parent / "outside"
    outside.mkdir()
    (outside / "b.wav").write_bytes(encoded("b.wav", 0.1))
    (tree.root / "same.wav").symlink_to("in/a.wav")
    (tree.root / "out.wav").symlink_to(outside / "b.wav")
    (tree.root / "gone.wav").symlink_to("nowhere.wav")
    (tree.root / "folder").symlink_to(outside)
    os.mkfifo(tree.root / "pipe.wav")
    found = find(tree)
    assert [one.path for one in found if isinstance(one, Found)] == ["in/a.wav", "same.wav"]
    refused = {one.path: one.reason for one in found if isinstance(one, Refused)}
    assert refused == dict.fromkeys(["out.wav", "gone.wav", "folder", "pipe.wav"], "bad_path")
    for path in ("folder/b.wav", "out.wav", "../outside/b.wav", "/etc/passwd", "in/../../outside/b.wav"):
        assert isinstance(locate(tree.root, path), Refused), path


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.sampled_from(["..", ".", "a", "b.wav", "", "/", "\x00", "~", "..."]), max_size=6))
def test_no_path_of_a_table_leaves_its_root(parts: list[str]) -> None:
    path = "/".join(parts)
    if below(path):
        assert os.path.normpath(f"/corpora/{path}").startswith("/corpora/") and "\x00" not in path
    else:
        assert isinstance(locate(Path(__file__).parent, path), Refused)


def test_skipped_files_are_no_part_of_the_corpus(tree: Tree) -> None:
    tree.sounds("a.wav", "b_mic2.wav", "c.ogg", seconds=0.2)
    recordings, reasons = read(tree, pattern=r".*\.wav", skip=".*_mic2.*")
    assert (set(recordings), reasons) == ({"a.wav"}, {"c.ogg": "no_label"})


def test_transcripts_beside_the_audio(tree: Tree) -> None:
    tree.sounds("s1/a.wav", "s1/b.wav", "s2/c.wav", "s2/d.wav", seconds=0.3)
    tree.write("s1/a.normalized.txt", "Hello,\n world \n")
    tree.write("s2/d.normalized.txt", b"\xff\xfe")
    (tree.root / "s2/c.normalized.txt").symlink_to("/etc/hostname")
    pattern = r"(?P<speaker>s\d)/.*\.wav"
    recordings, _ = read(tree, pattern=pattern, transcript={"path": "{folder}/{stem}.normalized.txt"})
    assert texts(recordings) == {"s1/a.wav": "Hello, world", "s1/b.wav": "", "s2/c.wav": "", "s2/d.wav": ""}
    tree.write("s1/s1.trans.txt", "a ONE TWO\nb THREE\nlonely\n\n")
    recordings, _ = read(tree, pattern=pattern, transcript={"path": "{folder}/{speaker}.trans.txt", "key": "{stem}"})
    assert texts(recordings) == {"s1/a.wav": "ONE TWO", "s1/b.wav": "THREE", "s2/c.wav": "", "s2/d.wav": ""}


# ---- tables


ROWS: list[dict[str, Any]] = [
    {"file": "b.wav", "text": "whole"},
    {"file": "./a.flac", "text": "second", "start": 1.0, "seconds": 0.5},
    {"file": "a.flac", "text": "first", "start": 0.25, "seconds": 0.5},
    {"file": "a.flac", "text": "again", "start": 1.0, "seconds": 0.5},
    {"file": "a.flac", "text": "past its end", "start": 1.5, "seconds": 1.0},
    {"file": "a.flac", "text": "rounded", "start": 1.5, "seconds": 0.56},
    {"file": "gone.wav", "text": "lost"},
    {"file": "../out.wav", "text": "lost"},
]


def write_rows(tree: Tree, name: str) -> None:
    if name.endswith(".json"):
        tree.write(name, json.dumps({"version": 1, "data": ROWS}))
    elif name.endswith(".jsonl"):
        tree.write(name, "\n".join(json.dumps(row) for row in ROWS))
    elif name.endswith(".gz"):
        tree.write(name, gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode()))
    elif name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist([{"start": None, "seconds": None} | row for row in ROWS]), tree.root / name)
    else:
        every = [{key: row.get(key, "") for key in ("file", "text", "start", "seconds")} for row in ROWS]
        tree.csv(name, every, "\t" if name.endswith(".tsv") else ",")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.jsonl", "t.jsonl.gz", "t.parquet"])
def test_every_form_of_table_says_the_same(tree: Tree, name: str) -> None:
    tree.sounds("a.flac", "b.wav", "extra.wav", seconds=2.0)
    write_rows(tree, name)
    recordings, reasons = read(tree, layout="table", pattern=".+", table={"path": name, "start": "start", "duration": "seconds"})
    assert texts(recordings) == {"a.flac@4000-12000": "first", "a.flac@16000-24000": "second", "a.flac@24000-32000": "rounded", "b.wav": "whole"}
    assert list(recordings) == ["a.flac@4000-12000", "a.flac@16000-24000", "a.flac@24000-32000", "b.wav"]
    assert recordings["a.flac@16000-24000"].place == (1, 4)
    assert reasons == {
        "a.flac": "duplicate",
        "a.flac@24000-40000": "bad_cut",
        "extra.wav": "no_label",
        "gone.wav": "bad_path",
        "../out.wav": "bad_path",
    }
    whole, _ = sf.read(tree.root / "a.flac", dtype="float32", always_2d=True)
    assert np.array_equal(recordings["a.flac@4000-12000"].samples, whole[4000:12000])


def test_paths_of_a_manifest_lose_what_they_are_told_to_lose(tree: Tree) -> None:
    tree.sounds("a.wav", "b.wav", seconds=0.2)
    rows = [{"audio": {"path": path}} for path in ("/corpus/a.wav", "b.wav", "/elsewhere/c.wav", "/corpus/../../d.wav")]
    tree.write("t.jsonl", "\n".join(json.dumps(row) for row in rows))
    recordings, reasons = read(tree, layout="table", pattern=".+", table={"path": "t.jsonl", "file": "audio.path"}, strip="/corpus/")
    assert set(recordings) == {"a.wav", "b.wav"} and reasons == dict.fromkeys(["/elsewhere/c.wav", "../../d.wav"], "bad_path")


def test_columns_are_renamed_reached_into_and_made(tree: Tree) -> None:
    tree.sounds("clips/a.wav", seconds=0.2)
    tree.write("train.json", json.dumps([{"path": "a", "meta": {"who": "ann"}, "sentence": "hi", "age": 7, "empty": "", "tags": ["x"]}]))
    table = {"path": "*.json", "file": "clips/{path}.wav", "columns": {"text": "sentence", "speaker": "meta.who", "part": "{table}"}}
    recordings, _ = read(tree, layout="table", table=table, pattern="(?P<folder>clips)/.*")
    rows = [{"path": "a", "sentence": "hi"}, {"path": "a", "sentence": "ho"}, {"sentence": "no path"}]
    tree.write("train.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert [one.reason for one in find(tree, layout="table", table=table | {"path": "train.jsonl"}) if isinstance(one, Refused)] == [
        "bad_path",
        "duplicate",
    ]
    assert recordings["clips/a.wav"].fields == {"path": "a", "age": "7", "text": "hi", "speaker": "ann", "part": "train", "folder": "clips"}


@pytest.mark.parametrize(
    ("table", "data", "message"),
    [
        ("t.csv", b"\xff\xfe\x00", "not a readable CSV table"),
        ("t.csv", b"name,text\na,b\n", "has no column 'file'.*name, text"),
        ("t.jsonl", b'{"file": "a.wav"}\n[1]\n', "not a readable JSONL table"),
        ("t.parquet", b"PAR1", "not a readable PARQUET table"),
        ("t.xml", b"<a/>", "no table"),
    ],
)
def test_a_table_that_is_none_is_the_users_mistake(tree: Tree, table: str, data: bytes, message: str) -> None:
    tree.sounds("a.wav", seconds=0.2)
    tree.write(table, data)
    with pytest.raises(UserError, match=message):
        find(tree, layout="table", table={"path": table})
    with pytest.raises(UserError, match="no such table"):
        find(tree, layout="table", table={"path": "u.csv"})


def test_a_manifest_that_lacks_times_cuts_nothing(tree: Tree) -> None:
    tree.sounds("a.wav", seconds=0.2)
    tree.csv("t.csv", [{"file": "a.wav", "start": "soon"}])
    assert [(one.path, one.reason) for one in find(tree, layout="table", table={"path": "t.csv", "start": "start"}) if isinstance(one, Refused)] == [
        ("a.wav", "bad_cut")
    ]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_rows_changes_nothing(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    tree = Tree(tmp_path_factory.mktemp("t"))
    for name in ("a/b.wav", "a.wav", "b.wav"):
        tree.write(name, b"x")
    rows = [{"file": name, "start": start} for name in ("a/b.wav", "a.wav", "b.wav") for start in (0.0, 1.0)]
    tree.csv("t.csv", [rows[index] for index in order])
    found = find(tree, layout="table", table={"path": "t.csv", "start": "start"})
    assert [one.path for one in found] == ["a/b.wav", "a.wav", "b.wav"]
    assert all(isinstance(one, Found) and [cut.start_s for cut in one.cuts] == [0.0, 1.0] for one in found)


# ---- cuts


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_cut_is_the_same_whatever_was_read_before(tree: Tree, name: str) -> None:
    tree.sounds(name, seconds=2.0)
    with SoundReader(tree.root / name) as sound_file:
        alone = sound_file.read(9000, 17000)
    with SoundReader(tree.root / name) as sound_file:
        sound_file.read(0, 12000)
        overlapping = sound_file.read(9000, 17000)
        assert np.array_equal(overlapping, alone) and len(alone) == 8000
        with pytest.raises(BadFileError, match="truncated"):
            sound_file.read(0, 99999)


# ---- kaldi


def test_kaldi_folders_with_segments_and_without(tree: Tree) -> None:
    tree.sounds("wav/r1.wav", "wav/r2.flac", seconds=2.0)
    tree.write("data/train/wav.scp", "r1 /corpora/wav/r1.wav\nr2 sph2pipe -f wav r2.sph |\nr3 /corpora/wav/r3.wav\n")
    tree.write("data/train/segments", "ann-1 r1 0.5 1.0\nann-2 r1 1.25 -1\nbob-1 r2 0 1\nbob-2 r9 0 1\ncyd-1 r3 0.0 1.0\n")
    tree.write("data/train/text", "ann-1 hello  there\nann-2 good day\nbob-1 no\n")
    tree.write("data/train/utt2spk", "ann-1 ann\nann-2 ann\nbob-1 bob\n")
    tree.write("data/dev/wav.scp", "r2 wav/r2.flac\n")
    recordings, reasons = read(tree, layout="kaldi", manifests=["data/train", "data/dev"], strip="/corpora/")
    assert texts(recordings) == {"wav/r1.wav@8000-16000": "hello  there", "wav/r1.wav@20000-32000": "good day", "wav/r2.flac": ""}
    assert {one.fields.get("speaker") for one in recordings.values()} == {"ann", None}
    assert reasons == {"r2": "pipe", "r9": "bad_path", "wav/r3.wav": "bad_path"}


def test_a_kaldi_command_is_never_run(tree: Tree) -> None:
    tree.write("data/wav.scp", f"r1 touch {tree.root}/ran |\nr2 | touch {tree.root}/ran\n")
    assert [one.reason for one in find(tree, layout="kaldi", manifests=["data"]) if isinstance(one, Refused)] == ["pipe", "pipe"]
    assert not (tree.root / "ran").exists()
    with pytest.raises(UserError, match="not a readable kaldi file"):
        find(tree, layout="kaldi", manifests=["nothing"])


# ---- lhotse


def test_lhotse_cuts_and_supervised_recordings(tree: Tree) -> None:
    from lhotse import AudioSource, CutSet, MonoCut, RecordingSet, SupervisionSegment, SupervisionSet
    from lhotse import Recording as LhotseRecording

    tree.sounds("wav/a.wav", "wav/b.wav", seconds=2.0)

    def recording(name: str, kind: str = "file", channels: tuple[int, ...] = (0,)) -> LhotseRecording:
        source = AudioSource(type=kind, channels=list(channels), source=f"/corpora/wav/{name}.wav")
        return LhotseRecording(id=name, sources=[source], sampling_rate=16000, num_samples=32000, duration=2.0)

    def said(name: str, text: str, start: float, duration: float) -> SupervisionSegment:
        return SupervisionSegment(id=f"{name}-{text}", recording_id=name, start=start, duration=duration, text=text, speaker="ann", language="en")

    a, b = recording("a"), recording("b")
    cuts = [
        MonoCut(id="c1", start=0.5, duration=1.0, channel=0, recording=a, supervisions=[said("a", "one", 0.0, 0.5), said("a", "two", 0.5, 0.5)]),
        MonoCut(id="c2", start=0.0, duration=2.0, channel=0, recording=b, supervisions=[said("b", "all", 0.0, 2.0)]),
        MonoCut(id="c3", start=0.0, duration=1.0, channel=0, recording=recording("p", "command"), supervisions=[]),
        MonoCut(id="c4", start=0.0, duration=1.0, channel=1, recording=recording("two", channels=(0, 1)), supervisions=[]),
    ]
    CutSet.from_cuts(cuts).to_file(tree.root / "cuts.jsonl.gz")
    recordings, reasons = read(tree, layout="lhotse", manifests=["cuts.jsonl.gz"], strip="/corpora/")
    assert texts(recordings) == {"wav/a.wav@8000-24000": "one two", "wav/b.wav": "all"} and reasons == {"p": "pipe", "wav/two.wav": "channels"}
    assert recordings["wav/b.wav"].fields["speaker"] == "ann"
    RecordingSet.from_recordings([a, b]).to_file(tree.root / "recordings.jsonl.gz")
    SupervisionSet.from_segments([said("a", "x", 0.25, 0.5), said("z", "y", 0.0, 1.0)]).to_file(tree.root / "supervisions.jsonl.gz")
    recordings, reasons = read(tree, layout="lhotse", manifests=["recordings.jsonl.gz", "supervisions.jsonl.gz"], strip="/corpora/")
    assert texts(recordings) == {"wav/a.wav@4000-12000": "x"} and reasons == {"z": "bad_path", "wav/b.wav": "no_label"}
    tree.write("bad.jsonl.gz", b"no manifest")
    with pytest.raises(UserError, match="not a lhotse manifest"):
        find(tree, layout="lhotse", manifests=["bad.jsonl.gz"])


# ---- shards


def shard_rows(count: int = 5) -> list[dict[str, Any]]:
    return [
        {"id": index, "context": {"bytes": encoded("a.wav", 0.3), "path": None}, "label": index % 2, "text": f"t{index}"} for index in range(count)
    ]


def test_hugging_face_shards_with_any_audio_column(tree: Tree) -> None:
    rows = shard_rows()
    rows[3]["context"] = {"bytes": None, "path": "a.wav"}
    features = {"context": {"_type": "Audio"}, "label": {"_type": "ClassLabel", "names": ["dog", "cat"]}}
    tree.shard("data/train-0.parquet", rows, features)
    recordings, reasons = read(tree, layout="huggingface", pattern=r"data/.*")
    assert list(recordings) == [f"data/train-0.parquet#context[{index}]" for index in (0, 1, 2, 4)]
    assert reasons == {"data/train-0.parquet#context[3]": "empty"}
    assert recordings["data/train-0.parquet#context[1]"].fields == {"id": "1", "label": "cat", "text": "t1"}


def test_a_folder_that_datasets_saved(tree: Tree) -> None:
    datasets = pytest.importorskip("datasets")
    rows = shard_rows()
    features = datasets.Features(
        {
            "id": datasets.Value("int64"),
            "context": datasets.Audio(decode=False),
            "label": datasets.ClassLabel(names=["dog", "cat"]),
            "text": datasets.Value("string"),
        }
    )
    datasets.Dataset(pa.Table.from_pylist(rows, schema=features.arrow_schema)).save_to_disk(tree.root / "saved")
    recordings, reasons = read(tree, layout="huggingface", pattern=r"saved/data-.*\.arrow")
    assert reasons == {} and len(recordings) == 5
    (path,) = (path for path in recordings if path.endswith("#context[4]"))
    assert recordings[path].fields == {"id": "4", "label": "dog", "text": "t4"}
    expected, _ = sf.read(io.BytesIO(rows[4]["context"]["bytes"]), dtype="float32", always_2d=True)
    assert np.array_equal(recordings[path].samples, expected)


def test_two_columns_of_sound_need_a_name(tree: Tree) -> None:
    rows = [{**row, "clean": {"bytes": encoded("a.wav", 0.3), "path": "c"}} for row in shard_rows(2)]
    tree.shard("a.parquet", rows)
    with pytest.raises(UserError, match="several columns hold sound: context, clean"):
        read(tree, layout="huggingface")
    assert list(read(tree, layout="huggingface", audio="clean")[0]) == ["a.parquet#clean[0]", "a.parquet#clean[1]"]
    with pytest.raises(BadFileError, match="not a shard with audio"):
        read(tree, layout="huggingface", audio="noisy")


def test_sofa_cells_are_what_the_file_holds(tree: Tree) -> None:
    responses = np.moveaxis(sound(0.2, channels=6), 0, 1).reshape(3, 2, -1)
    sofa_file(tree.root / "a.sofa", responses)
    recordings, _ = read(tree, layout="sofa", kind="rooms")
    assert len(recordings) == 6 and np.array_equal(recordings["a.sofa#2/1"].samples[:, 0], responses[2, 1])


# ---- entries


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "CC BY 4.0"}, "no SPDX licence"),
        ({"licences": {"a": "free"}}, "no SPDX licence"),
        ({"licence_field": "l", "labels": {"l": {"x": "free"}}}, "no SPDX licence"),
        ({"pattern": "("}, "not a regular expression"),
        ({"skip": "("}, "not a regular expression"),
        ({"layout": "table"}, "'table' and 'layout: table'"),
        ({"layout": "kaldi"}, "'manifests' and"),
        ({"kind": "questions"}, "'questions' and"),
        ({"kind": "questions", "questions": {"question": "q", "answer": "a"}}, "questions are columns"),
        ({"layout": "sofa", "transcript": {"path": "x"}}, "'transcript' is for sound files"),
        ({"expected": {"files": 0}}, "greater than 0"),
        ({"root": "../x"}, "below the corpora folder"),
        ({"fecth": "x"}, "Did you mean 'fetch'"),
    ],
)
def test_a_mistake_in_an_entry_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        entry(**changes)


def test_licences_by_field_by_file_and_of_the_corpus() -> None:
    one = entry(licence_field="l", labels={"l": {"http://by": "CC-BY-4.0"}})
    assert one.licence_of({"l": "http://by"}, "a.wav") == "CC-BY-4.0" and one.licence_of({"l": "http://x"}, "a.wav") == ""
    assert entry(licence_field="l").licence_of({"l": "cc-by-4.0"}, "a.wav") == "CC-BY-4.0"
    assert entry(licences={"a": "MIT"}).licence_of({}, "b/a.wav") == "MIT" and entry().licence_of({}, "b.wav") == "CC0-1.0"
