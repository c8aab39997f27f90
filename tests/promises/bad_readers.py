"""The readers of outside data as functions of bytes: whatever goes in, rows, refusals or a UserError come out, and no recording is lost."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from tasks.catalog import index, rows
from tasks.catalog.found import Found, Refused, writable
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry, read_entry
from tasks.catalog.scan import Job, _marked, _result
from tasks.catalog.splits import Marks
from tasks.common.params import check_all, validate
from tasks.curriculum.params import read_plan
from tasks.evaluate.benchmark.recognise import recognise
from tasks.evaluate.benchmark.sounds import look
from tasks.items.params import read_questions
from tasks.mix.chains import read_chains
from tests.catalog.catalog_project import DIGITS, NOISE, as_wav, sound
from tests.promises.bad_mutations import spoilt, spoilt_bytes
from tests.promises.bad_sounds import encoded, fmt, id3, pcm, riff, tones

SHIPPED = Path(__file__).resolve().parents[2]
NAMES = ("a.wav", "b.wav", "c.wav")
SPEECH = DIGITS | {"corpus": "x", "root": "x", "pattern": ".+", "labels": {}, "unit": "utterance", "text": "text", "compose": None}
SPEECH |= {"split": {"field": "text", "test": 0.2, "validation": 0.2}, "duration_s": [0.05, 30.0]}
ROOMS = NOISE | {
    "corpus": "x",
    "kind": "rooms",
    "root": "x",
    "segment_s": None,
    "pattern": ".+",
    "split": {"field": "position", "test": 0.2, "validation": 0.2},
}


@dataclass(frozen=True)
class Reader:
    """A reader by name: the input it is given, and what reads it in a folder of its own, which may raise UserError alone."""

    name: str
    inputs: st.SearchStrategy[Any]
    read: Callable[[Path, Any], None]


def refusals_of(root: Path, entry: dict[str, Any]) -> list[Refused]:
    """Every refusal of a corpus."""
    refused: list[Refused] = []
    scanned(root, validate(Entry, entry, "x.yaml"), refused)
    return refused


def scanned(root: Path, entry: Entry, refused: list[Refused]) -> set[str]:
    """The files that an entry's corpus accounts for, after everything that the stage does with each but to write it to the index."""
    told: set[str] = set()
    make, marks = rows._maker(entry, []), Marks(entry, None)
    last: list[str] = []
    for found in LAYOUTS[entry.layout].find(entry, root):
        told.add(found.path)
        if isinstance(found, Refused):
            refused.append(_written(found))
            continue
        assert found.path.split("/") > last, "out of order"
        last = found.path.split("/")
        fields, cuts = json.loads(index.named_of(found).encode())
        index.Recipes(entry).of(found)
        recordings, refusals = json.loads(writable(json.dumps(_result(Job(entry, root, b"", b""), _unnamed(found)), ensure_ascii=False)).encode())
        for path, reason, detail in refusals:
            refused.append(_written(Refused(found.path + path, reason, detail)))
        for recording in recordings:
            made = make(found.path, fields, cuts, recording)
            if isinstance(made, Refused):
                refused.append(_written(made))
                continue
            row, named, place = made
            marks.of(named, place, row["path"])
            schema = rows.SCHEMAS[rows.TABLE[entry.kind]]
            pa.Table.from_pylist([row], schema=schema)
            assert row["sampling_rate"] > 0 and row["duration_s"] > 0 and np.isfinite(row["rms_dbfs"])
    return told


def _unnamed(found: Found) -> Found:
    """As a worker sees it: without what its name says of it."""
    return Found(found.path, found.size, cuts=_marked(index.named_of(found)))


def _written(refused: Refused) -> Refused:
    assert refused.reason and refused.detail
    pa.array([refused.path, refused.reason, writable(refused.detail)], pa.string())
    return refused


def _corpus(folder: Path, entry: dict[str, Any], files: dict[str, bytes]) -> None:
    root = folder / "x"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for seed, name in enumerate(NAMES):
        (root / name).write_bytes(WAVES[seed])
    for name, data in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    one = validate(Entry, entry, "x.yaml")
    told = scanned(root, one, [])
    if one.layout in ("folder", "table", "kaldi", "lhotse"):
        assert {path for path in told if path in NAMES} == set(NAMES), "a recording is lost"
    else:
        assert set(files) <= told


WAVES = [as_wav(sound(seed)) for seed in range(3)]


def _corpus_reader(name: str, inputs: st.SearchStrategy[bytes], file: str, entry: dict[str, Any], beside: dict[str, bytes] | None = None) -> Reader:
    return Reader(name, inputs, lambda folder, data: _corpus(folder, entry, (beside or {}) | {file: data}))


def _lines(rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode() if isinstance(rows, list) else json.dumps(rows).encode()


def _csv(delimiter: str) -> Callable[[Any], bytes]:
    def dump(rows: Any) -> bytes:
        table = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        header = list(table[0]) if table else []
        lines = [header, *([row.get(key) for key in header] for row in table)]
        return "\n".join(delimiter.join(str(cell) for cell in line) for line in lines).encode("utf-8", "surrogatepass")

    return dump


def _parquet(rows: Any) -> bytes:
    """Rows of any kind as a shard; those that Arrow has no type for as text."""
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    columns = sorted({key for row in rows for key in row})
    arrays = []
    for column in columns:
        values = [row.get(column) for row in rows]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowException, OverflowError, UnicodeError):
            arrays.append(pa.array([writable(str(value)) for value in values]))
    buffer = io.BytesIO()
    names = [writable(column) for column in columns]
    table = pa.Table.from_arrays(arrays, names=names) if columns else pa.table({"none": pa.array([], pa.string())})
    try:
        pq.write_table(table, buffer)
    except pa.ArrowException:  # an empty struct
        return b"PAR1"
    return buffer.getvalue()


def _arrow(rows: Any) -> bytes:
    table = pq.read_table(io.BytesIO(data)) if (data := _parquet(rows)) != b"PAR1" else pa.table({"none": [1]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _sofa(parts: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in parts.items() if isinstance(parts, dict) else ():
            try:
                file[name] = np.array(value)
            except (TypeError, ValueError, OverflowError, UnicodeError, OSError):
                continue
    return buffer.getvalue()


ROWS = [{"file": name, "text": f"t {name}", "start": 0.05 * number, "seconds": 0.1} for number, name in enumerate(NAMES)]
ASKED = [{"file": name, "q": "Which?", "o": ["dog", "cat"], "a": answer, "t": "x"} for name, answer in zip(NAMES, ("dog", "B", 1), strict=True)]
SHARD = [{"audio": {"bytes": wave, "path": f"{number}"}, "text": f"t{number}", "metadata": '{"k": 1}'} for number, wave in enumerate(WAVES)]
SCP = b"".join(b"%c %s\n" % (name[0].encode(), name.encode()) for name in NAMES)
TEXT = b"a one\nb two\nc three\n"
SEGMENTS = b"a a 0.0 0.1\nb b 0.1 -1\nc c 0.05 0.2\n"
_SOURCE = {"type": "file", "channels": [0]}
RECORDINGS = [
    {"id": name[0], "sources": [_SOURCE | {"source": name}], "sampling_rate": 8000, "num_samples": 2400, "duration": 0.3, "channel_ids": [0]}
    for name in NAMES
]
SAID = [{"id": name[0], "recording_id": name[0], "start": 0.0, "duration": 0.2, "channel": 0, "text": name, "speaker": "ann"} for name in NAMES]
CUTS = [
    {"id": name[0], "start": 0.0, "duration": 0.3, "channel": 0, "supervisions": [said], "recording": recording, "type": "MonoCut"}
    for name, said, recording in zip(NAMES, SAID, RECORDINGS, strict=True)
]
ROOM = {"Data.IR": np.random.default_rng(0).normal(0, 0.1, (3, 2, 900)).round(3).tolist(), "Data.SamplingRate": [8000.0]}
ROOM |= {"SourcePosition": [[0.0, 0.0, 1.0], [10.0, 0.0, 1.0], [20.0, 0.0, 1.0]]}

_WAVE = tones(700, 0.3)
SOUNDS = [
    encoded(_WAVE, form, subtype)
    for form, subtype in (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("RF64", "PCM_16"), ("W64", "PCM_24"))
]
SOUNDS += [encoded(_WAVE, form) for form in ("AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "WAVEX", "NIST")] + [encoded(_WAVE, "OGG", "OPUS")]
SOUNDS += [id3(encoded(_WAVE, "MP3")), riff(fmt(7, 8), (b"data", pcm(_WAVE)))]


def _sound_file(folder: Path, case: tuple[str, bytes]) -> None:
    suffix, data = case
    entry = NOISE | {"corpus": "x", "root": "x", "pattern": "(?P<noise_type>.+)", "segment_s": None, "licences": {}}
    _corpus(folder, entry, {f"s.{suffix}": data})


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value).encode()


def _at(folder: Path, place: str, data: bytes) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _entry(folder: Path, data: bytes) -> None:
    _at(folder, "catalogs/speech/x.yaml", data)
    read_entry("speech", "x")


def _params(folder: Path, data: bytes) -> None:
    _at(folder, "params.yaml", data)
    _at(folder, "profiles/tiny.yaml", b"{}")
    (folder / "sounds").mkdir(exist_ok=True)
    check_all()


def _profile(folder: Path, data: bytes) -> None:
    _at(folder, "params.yaml", PARAMS_TEXT)
    _at(folder, "profiles/tiny.yaml", data)
    (folder / "sounds").mkdir(exist_ok=True)
    check_all()


def _benchmark(folder: Path, case: tuple[str, bytes]) -> None:
    """A benchmark's table beside its sounds: every row is an item or excluded, and every sound is heard or refused."""
    name, data = case
    root = folder / "benchmark"
    shutil.rmtree(root, ignore_errors=True)
    for beside, wave in zip(NAMES, WAVES, strict=True):
        _at(root, beside, wave)
    found = recognise(_at(root, name, data).parent)
    heard = look(tuple({item.sound for item in found.items}))
    assert all(one.clip_id or one.reason for one in heard) and all(one.reason and one.detail for one in found.excluded)


def _shipped(pattern: str) -> list[Any]:
    return [yaml.safe_load(path.read_text()) for path in sorted(SHIPPED.glob(pattern))]


PARAMS = {**yaml.safe_load((SHIPPED / "params.yaml").read_text()), "profile": "tiny", "corpora": "sounds"}
PARAMS_TEXT = _yaml(PARAMS)
WORDINGS = [one for one in _shipped("catalogs/questions/*.yaml") if "corpus" not in one]
PLANS = [one for one in _shipped("catalogs/curricula/*.yaml") if "stages" in one]
CHAINS = [one for one in _shipped("catalogs/curricula/*.yaml") if "corruptions" in one]

MMAU = [
    {"id": name[0], "audio_id": f"./{name}", "question": "Which?", "choices": ["dog", "cat"], "answer": "cat", "task": "sound", "difficulty": "easy"}
    | {"dataset": "AudioSet", "split": "test-mini", "category": "Reasoning", "sub-category": "Source"}
    for name in NAMES
]
MMSU = [
    {"id": f"{number}", "audio": {"bytes": wave, "path": "a.wav"}, "question": "Which?", "choice_a": "dog", "choice_b": "cat", "choice_c": "cow"}
    | {"choice_d": "", "answer_gt": "cat", "category": "Perception", "sub-category": "x", "task_name": "y"}
    for number, wave in enumerate(WAVES)
]
_BENCHMARKS = [
    st.tuples(st.just("t.json"), spoilt([MMAU], lambda value: json.dumps(value).encode())),
    st.tuples(st.just("t.jsonl"), spoilt([MMAU], _lines)),
    st.tuples(st.just("t.parquet"), spoilt([MMSU], _parquet)),
]

_TABLE = SPEECH | {"layout": "table"}
_TIMED = {"start": "start", "duration": "seconds"}
_KALDI = SPEECH | {"layout": "kaldi", "manifests": ["data"]}
_QUESTIONS = {"question": "q", "options": "o", "answer": "a", "task": "t"}
_ASKING = SPEECH | {
    "kind": "questions",
    "unit": None,
    "text": None,
    "questions": _QUESTIONS,
    "split": {"field": "file", "test": 0.2, "validation": 0.2},
}
READERS = [
    Reader(
        "sound files", st.tuples(st.sampled_from(["wav", "flac", "ogg", "mp3", "w64", "au", "caf", "sph", "aiff"]), spoilt_bytes(SOUNDS)), _sound_file
    ),
    _corpus_reader("CSV", spoilt([ROWS], _csv(",")), "t.csv", _TABLE | {"table": {"path": "t.csv"} | _TIMED}),
    _corpus_reader("TSV", spoilt([ROWS], _csv("\t")), "t.tsv", _TABLE | {"table": {"path": "t.tsv"} | _TIMED}),
    _corpus_reader(
        "JSON", spoilt([ROWS, {"data": ROWS}], lambda value: json.dumps(value).encode()), "t.json", _TABLE | {"table": {"path": "t.json"} | _TIMED}
    ),
    _corpus_reader("JSON lines", spoilt([ROWS], _lines), "t.jsonl", _TABLE | {"table": {"path": "t.jsonl"} | _TIMED}),
    _corpus_reader("Parquet table", spoilt([ROWS], _parquet), "t.parquet", _TABLE | {"table": {"path": "t.parquet"} | _TIMED}),
    _corpus_reader("questions", spoilt([ASKED], _lines), "t.jsonl", _ASKING | {"layout": "table", "table": {"path": "t.jsonl"}}),
    _corpus_reader("kaldi wav.scp", spoilt_bytes([SCP]), "data/wav.scp", _KALDI, {"data/text": TEXT}),
    _corpus_reader("kaldi segments", spoilt_bytes([SEGMENTS]), "data/segments", _KALDI, {"data/wav.scp": SCP, "data/text": TEXT}),
    _corpus_reader("kaldi text", spoilt_bytes([TEXT]), "data/text", _KALDI, {"data/wav.scp": SCP, "data/utt2spk": TEXT}),
    _corpus_reader("lhotse cuts", spoilt([CUTS], _lines), "t.jsonl", SPEECH | {"layout": "lhotse", "manifests": ["t.jsonl"]}),
    _corpus_reader(
        "lhotse recordings",
        spoilt([RECORDINGS], _lines),
        "r.jsonl",
        SPEECH | {"layout": "lhotse", "manifests": ["r.jsonl", "s.jsonl"]},
        {"s.jsonl": _lines(SAID)},
    ),
    _corpus_reader(
        "lhotse JSON", spoilt([CUTS], lambda value: json.dumps(value).encode()), "t.json", SPEECH | {"layout": "lhotse", "manifests": ["t.json"]}
    ),
    _corpus_reader("Parquet shards", spoilt([SHARD], _parquet), "s.parquet", SPEECH | {"layout": "parquet", "pattern": r".*\.parquet"}),
    _corpus_reader("Hugging Face shards", spoilt([SHARD], _parquet), "s.parquet", SPEECH | {"layout": "huggingface", "pattern": r".*\.parquet"}),
    _corpus_reader("Arrow streams", spoilt([SHARD], _arrow), "s.arrow", SPEECH | {"layout": "huggingface", "pattern": r".*\.arrow"}),
    _corpus_reader("SOFA", spoilt([ROOM], _sofa), "s.sofa", ROOMS | {"layout": "sofa", "pattern": r".*\.sofa"}),
    Reader("benchmarks", st.one_of(_BENCHMARKS), _benchmark),
    Reader("catalog entries", spoilt([SPEECH | {"corpus": "x"}, *_shipped("catalogs/speech/*.yaml")], _yaml), _entry),
    Reader("params.yaml", spoilt([PARAMS], _yaml), _params),
    Reader("profiles", spoilt(_shipped("profiles/*.yaml"), _yaml), _profile),
    Reader("question templates", spoilt(WORDINGS, _yaml), lambda folder, data: (read_questions(_at(folder, "q.yaml", data)), None)[1]),
    Reader("curricula: stages", spoilt(PLANS, _yaml), lambda folder, data: (read_plan(_at(folder, "p.yaml", data)), None)[1]),
    Reader("curricula: corruptions", spoilt(CHAINS, _yaml), lambda folder, data: (read_chains(str(_at(folder, "c.yaml", data))), None)[1]),
]
