"""The index of a corpus: what earlier scans saw of its files and found in them, so that only what changed is opened again.

`data/scan/<kind>-<corpus>.sqlite` lies outside the outputs of the stage, because it holds times and inode numbers. It may be deleted at any
time: a file without an entry is decoded again. Workers write to it directly, a shard a transaction, so a killed scan loses a shard a worker.
"""

import functools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.catalog.found import Found, writable
from tasks.catalog.params import Entry
from tasks.common import audio
from tasks.common.seeds import content_id, file_sha256
from tasks.common.versions import of

FOLDER = Path("data/scan")
VERSION = 1  # of the tables below; an index of another version is made anew
TABLES = """
CREATE TABLE files (
    key BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, recipe TEXT, named TEXT, sha256 TEXT, outcome INTEGER
) WITHOUT ROWID;
CREATE TABLE outcomes (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, recipe TEXT NOT NULL, result TEXT NOT NULL, UNIQUE (sha256, recipe));
CREATE TABLE utterances (name TEXT PRIMARY KEY, kept TEXT NOT NULL) WITHOUT ROWID;
"""
# What decides neither what is decoded nor whether it passes: only the names, labels and papers of a recording, which its row is made of later.
_LABELS = {"corpus", "root", "pattern", "skip", "strip", "table", "manifests", "transcript", "labels", "unit", "text", "speaker", "noise_type"}
_PAPERS = {"split", "compose", "licence", "licences", "licence_field", "source", "citation", "expected", "fetch"}
_LATER = {
    "stage.py",
    "gather.py",
    "rows.py",
    "splits.py",
    "owed.py",
    "utterances.py",
    "compose.py",
    "params.py",
    "index.py",
    "__main__.py",
    "__init__.py",
}
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


@contextmanager
def opened(kind: str, corpus: str) -> Iterator[sqlite3.Connection]:
    """The index of a corpus, made where it is missing, no database or of another version; commits at the end of the block."""
    path = FOLDER / f"{kind}-{corpus}.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        path.unlink()
        connection = _connect(path)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=600.0)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            connection.execute("BEGIN EXCLUSIVE")
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                connection.execute(f'DROP TABLE "{name}"')
            for statement in filter(str.strip, TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def key_of(path: str) -> bytes:
    """A path as bytes whose order is that of `path.split("/")`."""
    return path.replace("/", "\0").encode()


def path_of(key: bytes) -> str:
    """The path of a key."""
    return key.decode().replace("\0", "/")


def named_of(found: Found) -> str:
    """What names and manifests say of a file, as JSON: [fields, [[start_s, end_s, fields], ...]]."""
    return writable(_dumps([found.fields, [[cut.start_s, cut.end_s, cut.fields] for cut in found.cuts]]))


class Recipes:
    """Names for all that decides, besides a file's bytes, what is found in it: the entry, its suffix, its cuts, this code and the decoder."""

    def __init__(self, entry: Entry) -> None:
        self._entry = content_id([_revision(), entry.model_dump(mode="json", exclude=_LABELS | _PAPERS)])
        self._by_suffix: dict[str, str] = {}

    def of(self, found: Found) -> str:
        """The recipe of one file."""
        suffix = found.path[-5:].rpartition(".")[2].lower()
        if found.cuts:
            return content_id([self._entry, suffix, [[cut.start_s, cut.end_s] for cut in found.cuts]])
        if suffix not in self._by_suffix:
            self._by_suffix[suffix] = content_id([self._entry, suffix, []])
        return self._by_suffix[suffix]


@functools.cache
def _revision() -> str:
    """Of the code that finds, decodes and checks, of the audio policy and of the decoder."""
    code = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name not in _LATER)
    decoders = of("h5py", "libsndfile", "numpy", "python", "soundfile")
    return content_id([[[path.name, file_sha256(path)] for path in code], file_sha256(Path(audio.__file__)), decoders])
