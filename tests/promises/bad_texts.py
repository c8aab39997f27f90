"""Manifests, tables, catalog entries, parameters and questions with a mistake in them, and what each comes to.

A manifest lies beside three recordings, a.wav, b.wav and c.wav. `refused` names the recordings (or ids) in quarantine; where it is empty and
`mistake` is too, all is accepted. `mistake` is what the one line says that stops the build.
"""

import json
from dataclasses import dataclass, field
from typing import Any

NAMES = ("a.wav", "b.wav", "c.wav")
_LAUGHS = "".join(f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join(['*' + chr(97 + level)] * 10)}]\n" for level in range(9))
CSV = "file,text,start,seconds\n"


@dataclass(frozen=True)
class Manifest:
    """A manifest by the changes of the entry, its files, and what comes of it: reasons by path, the mistake, or texts by path."""

    what: str
    entry: dict[str, Any]
    files: dict[str, bytes | str]
    refused: dict[str, str] = field(default_factory=dict)
    mistake: str = ""
    texts: dict[str, str] = field(default_factory=dict)


def _table(what: str, data: bytes | str, name: str = "t.csv", **expected: Any) -> Manifest:
    table = {"path": name, "start": "start", "duration": "seconds"} | expected.pop("table", {})
    files = {name: data} | expected.pop("files", {})
    return Manifest(what, {"layout": "table", "table": table}, files, **expected)


def _rows(*rows: dict[str, Any]) -> str:
    named = {row.get("file") for row in rows}
    return "\n".join(json.dumps(row) for row in [*rows, *({"file": name, "text": name[0]} for name in NAMES if name not in named)])


ALL = "".join(f"{name},{name[0]}\n" for name in NAMES)
TABLES = [
    _table("a table with a byte-order mark", b"\xef\xbb\xbf" + f"file,text\n{ALL}".encode(), texts={"a.wav": "a"}),
    _table("a table with the line ends of Windows", f"file,text\n{ALL}".replace("\n", "\r\n"), texts={"a.wav": "a", "c.wav": "c"}),
    _table("JSON lines with the same", _rows().replace("\n", "\r\n"), "t.jsonl", texts={"a.wav": "a", "c.wav": "c"}),
    _table("the same recording in two rows", f"file,text\n{ALL}a.wav,again\n", refused={"a.wav": "duplicate"}),
    _table("a missing column", f"name,text\n{ALL}", mistake="has no column 'file'"),
    _table("two columns of one name", f"file,text,text\n{ALL}", mistake="not a readable CSV table"),
    _table("a text with an unquoted comma", f"file,text\n{ALL}b.wav,well, then\n", refused={"b.wav": "bad_row"}),
    _table("a row with too few cells", f"{CSV}{ALL}".replace("c.wav,c\n", "c.wav\n"), refused={"c.wav": "no_label"}),
    _table("a table of UTF-16", f"file,text\n{ALL}".encode("utf-16"), mistake="not a readable CSV table"),
    _table("a table with a NUL", f"file,text\n{ALL}\0\n", refused={"\0": "bad_path"}),
    _table("an empty table", "", mistake="no file below"),
    _table("a list for a time", _rows({"file": "a.wav", "text": "a", "start": [1]}), "t.jsonl", refused={"a.wav": "bad_cut"}),
    _table("an object for a text", _rows({"file": "a.wav", "text": {"en": "a"}}), "t.jsonl", refused={"a.wav": "no_label"}),
    _table("a number for a path", _rows({"file": 7, "text": "a"}), "t.jsonl", refused={"7": "bad_path"}),
    _table("a time of 400 digits", _rows({"file": "a.wav", "text": "a", "start": 10**400}), "t.jsonl", refused={"a.wav": "bad_cut"}),
    _table("a number of 5,000 digits", '{"file": "a.wav", "start": ' + "9" * 5000 + "}", "t.jsonl", mistake="not a readable JSONL table"),
    _table(
        "a time before the recording",
        _rows({"file": "a.wav", "text": "a", "start": -1, "seconds": 2}),
        "t.jsonl",
        refused={"a.wav@-8000-8000": "bad_cut"},
    ),
    _table("a time that is no number", _rows({"file": "a.wav", "text": "a", "start": "NaN"}), "t.jsonl", refused={"a.wav": "bad_cut"}),
    _table(
        "a cut without length", _rows({"file": "a.wav", "text": "a", "start": 0.1, "seconds": 0}), "t.jsonl", refused={"a.wav@800-800": "bad_cut"}
    ),
    _table("half a character in a text", _rows({"file": "a.wav", "text": "\ud83d a"}), "t.jsonl", texts={"a.wav": "? a"}),
    _table("half a character in a path", _rows({"file": "\ud83d.wav", "text": "a"}), "t.jsonl", refused={"?.wav": "bad_path"}),
    _table("a path with a NUL", _rows({"file": "a\0.wav", "text": "a"}), "t.jsonl", refused={"a\0.wav": "bad_path"}),
    _table("a path of 70,000 characters", _rows({"file": "x" * 70_000, "text": "a"}), "t.jsonl", refused={"x" * 70_000: "bad_path"}),
    _table("unknown columns", _rows({"file": "a.wav", "text": "a", "colour": "red", "tags": [1]}), "t.jsonl", texts={"a.wav": "a"}),
    _table("JSON nested 100,000 deep", "[" * 100_000, "t.json", mistake="not a readable JSON table"),
    _table("JSON that is a number", "7", "t.json", mistake="not a readable JSON table"),
    _table("a gzipped table that is cut off", b"\x1f\x8b\x08\0\0\0\0\0\0\3KKK", "t.csv.gz", mistake="not a readable CSV table"),
    _table(
        "a joined table with a key twice",
        f"file,text\n{ALL}",
        table={"join": {"path": "j.csv", "column": "file"}},
        files={"j.csv": "key,x\na.wav,1\na.wav,2\n"},
        mistake="'a.wav' stands twice",
    ),
    _table(
        "a joined table without its key",
        f"file,text\n{ALL}",
        table={"join": {"path": "j.csv", "column": "file"}},
        files={"j.csv": "name,x\na.wav,1\n"},
        mistake="has no column 'key'",
    ),
]

SCP = "".join(f"{name[0]} {name}\n" for name in NAMES)
TEXT = "".join(f"{name[0]} {name[0]}\n" for name in NAMES)


def _kaldi(what: str, **expected: Any) -> Manifest:
    files = {"data/wav.scp": SCP, "data/text": TEXT} | expected.pop("files")
    return Manifest(what, {"layout": "kaldi", "manifests": ["data"]}, files, **expected)


KALDI = [
    _kaldi("kaldi: an id twice in wav.scp", files={"data/wav.scp": SCP + "a b.wav\n"}, mistake="'a' stands twice"),
    _kaldi("kaldi: an id twice in text", files={"data/text": TEXT + "a again\n"}, mistake="'a' stands twice"),
    _kaldi("kaldi: a time with two points", files={"data/segments": "a a 0.0.1 0.2\nb b 0 0.2\nc c 0 0.2\n"}, refused={"a.wav": "bad_cut"}),
    _kaldi("kaldi: a time of 400 digits", files={"data/segments": f"a a {'9' * 400} 1\nb b 0 0.2\nc c 0 0.2\n"}, refused={"a.wav": "bad_cut"}),
    _kaldi(
        "kaldi: a byte-order mark and the line ends of Windows",
        files={"data/wav.scp": "\ufeff" + SCP.replace("\n", "\r\n")},
        texts={"a.wav": "a", "c.wav": "c"},
    ),
    _kaldi("kaldi: text that is not UTF-8", files={"data/text": b"a \xff\xfe\n"}, mistake="not a readable kaldi file"),
    _kaldi("kaldi: an empty wav.scp", files={"data/wav.scp": ""}, mistake="not a readable kaldi file"),
]


def _recording(name: str, **changes: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": f"{name}.wav"}
    return {"id": name, "sources": [source], "sampling_rate": 8000, "num_samples": 2400, "duration": 0.3, "channel_ids": [0]} | changes


def _cut(name: str, recording: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    said = {"id": name, "recording_id": name, "start": 0.0, "duration": 0.3, "text": name}
    row = {
        "id": name,
        "start": 0.0,
        "duration": 0.3,
        "channel": 0,
        "supervisions": [said],
        "recording": recording or _recording(name),
        "type": "MonoCut",
    }
    return row | changes


def _lhotse(what: str, *rows: Any, name: str = "cuts.jsonl", data: str = "", **expected: Any) -> Manifest:
    return Manifest(what, {"layout": "lhotse", "manifests": [name]}, {name: data or "\n".join(json.dumps(row) for row in rows)}, **expected)


LHOTSE = [
    _lhotse("lhotse: a text for a time", _cut("a", start="soon"), _cut("b"), _cut("c"), refused={"a": "bad_cut", "a.wav": "no_label"}),
    _lhotse(
        "lhotse: a recording without a source",
        _cut("a", _recording("a", sources=[])),
        _cut("b"),
        _cut("c"),
        refused={"a": "bad_path", "a.wav": "no_label"},
    ),
    _lhotse(
        "lhotse: a recording of 0 Hz",
        _cut("a", _recording("a", sampling_rate=0)),
        _cut("b"),
        _cut("c"),
        refused={"a": "bad_cut", "a.wav": "no_label"},
    ),
    _lhotse("lhotse: an id twice", _recording("a"), _recording("a"), name="recordings.jsonl", mistake="recording 'a' stands twice"),
    _lhotse("lhotse: a row that is no object", _cut("a"), [1], mistake="not a lhotse manifest"),
    _lhotse("lhotse: a row without its keys", _cut("a"), {"id": "b", "type": "MonoCut"}, mistake="not a lhotse manifest"),
    _lhotse("lhotse: a bomb of aliases", name="cuts.yaml", data=f"a: &a [{', '.join('x' * 10)}]\n{_LAUGHS}", mistake="not a lhotse manifest"),
    _lhotse("lhotse: a manifest cut off", data=json.dumps(_cut("a"))[:-9], mistake="not a lhotse manifest"),
]

MANIFESTS = [*TABLES, *KALDI, *LHOTSE]


@dataclass(frozen=True)
class Question:
    """A question of a corpus by its row, and why it cannot be asked; "" where it can."""

    what: str
    row: dict[str, Any]
    why: str


ASKED = {"q": "Which animal?", "o": ["dog", "cat", "cow"], "a": "cat"}
QUESTIONS = [
    Question("two right answers in a list", ASKED | {"a": ["dog", "cat"]}, "is not among"),
    Question("two right answers in a text", ASKED | {"a": "A, B"}, "is not among"),
    Question("an option that is invisible", ASKED | {"o": ["dog", "cat", "\u200b"]}, "2 options"),
    Question("options that differ by a Cyrillic letter", ASKED | {"o": ["dog", "cat", "c\u0430t"]}, "look the same"),
    Question("options that differ by width", ASKED | {"o": ["dog", "cat", "\uff43\uff41\uff54"]}, "look the same"),
    Question("options that differ by a zero-width joiner", ASKED | {"o": ["dog", "cat", "c\u200dat"]}, "look the same"),
    Question("options that differ by how an accent is written", ASKED | {"o": ["cat", "caf\u00e9", "cafe\u0301"]}, "look the same"),
    Question("an answer in full-width letters", ASKED | {"a": "\uff43\uff41\uff54"}, ""),
    Question("options that are numbers", ASKED | {"o": [1, 2.5, 30], "a": "2.5"}, ""),
    Question("options that are lists", ASKED | {"o": [["dog"], ["cat"]]}, "0 options"),
    Question("no options at all", ASKED | {"o": []}, "0 options"),
    Question("an answer beyond the letters", ASKED | {"a": "Z"}, "is not among"),
    Question("an answer that is an index of 400 digits", ASKED | {"a": 10**400}, "is not among"),
]


@dataclass(frozen=True)
class Yaml:
    """A YAML file that is no section of parameters, and what the one line says of it."""

    what: str
    text: str | bytes
    says: str


YAMLS = [
    Yaml("a bomb of aliases, 10^10 values", f"a: &a [{', '.join('x' * 10)}]\n{_LAUGHS}", "stands for more than 1000000 values"),
    Yaml("an alias of what it is in", "a: &a [*a]", "'a' holds itself"),
    Yaml("100,000 brackets", "[" * 100_000, "nested more than 64 deep"),
    Yaml("100,000 dashes", "- " * 100_000 + "x", "nested more than 64 deep"),
    Yaml("!!python/object/apply:os.system", "a: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
    Yaml("!!python/name", "a: !!python/name:os.system", "could not determine a constructor"),
    Yaml("a key twice", "catalog: {speech: []}\nprofile: tiny\ncatalog: {speech: [words]}", "key 'catalog' stands twice"),
    Yaml("a tab for spaces", "a:\n\tb: 1", "not valid YAML at line 2"),
    Yaml("a date that is none", "a: 2020-13-45", "ValueError"),
    Yaml("!!bool maybe", "a: !!bool maybe", "KeyError"),
    Yaml("an integer of 5,000 digits", "a: " + "9" * 5_000, "ValueError"),
    Yaml("an alias of nothing", "a: *b", "found undefined alias"),
    Yaml("two documents", "a: 1\n---\nb: 2", "but found another document"),
    Yaml("text that is not UTF-8", b"a: \xff\xfe", "UnicodeDecodeError"),
    Yaml("a NUL", "a: b\0c", "not valid YAML"),
    Yaml("a list for a key", "? [1]\n: 2", "unhashable key"),
    Yaml("a list for the file", "- profile\n- corpora", "expected a mapping of keys, found list"),
    Yaml("a number for a key", "profile: tiny\ncorpora: x\n7: 8", "key 7 is no text"),
    Yaml("a number for the profile", "profile: 7\ncorpora: x", "key 'profile' is no text"),
    Yaml("no corpora", "profile: tiny", "key 'corpora' is missing"),
    Yaml("an empty file", "", "key 'profile' is missing"),
    Yaml("a line end in a key", 'profile: tiny\ncorpora: x\ncatalog: {"a\\nb": 1, speech: [], noise: [], rooms: []}', "unknown key 'a\\nb'"),
    Yaml(
        "a value of 100,000 characters", f"profile: tiny\ncorpora: x\ncatalog: {{speech: {'x' * 100_000}, noise: [], rooms: []}}", "'speech' is 'xxx"
    ),
]
