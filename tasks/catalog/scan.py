"""The scan: which files of a corpus changed, and what is in those, decoded to the end, checked and measured by workers into the index."""

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.catalog import index
from tasks.catalog.checks import check, wrong_extension
from tasks.catalog.found import BadFileError, Cut, Found, Recording, Refused, clip_id_of, writable
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry
from tasks.common.audio import rms_dbfs, to_mono
from tasks.common.fanout import progress
from tasks.common.seeds import file_sha256

SHARD_FILES, SHARD_BYTES = 250, 64 << 20  # some seconds of decoding
BATCH = 4096  # files compared with the index at a time: a few MB
CUT = "\0cut"  # the field by which a decoded cut is known until its row is made

Stale = tuple[bytes, int, int, int, str, str, str]


@dataclass(frozen=True)
class Job:
    """A shard: the files of an entry between two keys of its index that wait to be scanned."""

    entry: Entry
    root: Path
    first: bytes
    last: bytes


@dataclass(frozen=True)
class Scanned:
    """How many files of a shard were hashed, and how many of them decoded because nobody had seen such bytes."""

    hashed: int
    decoded: int


@dataclass
class Survey:
    """The files of a corpus: how many there are, and the shards of those that must be opened."""

    files: int
    jobs: list[Job]


def survey(entry: Entry, root: Path, refuse: Callable[[Refused], None]) -> Survey:
    """Compare every file's size, time, inode and labels with the index; `refuse` takes those refused by name alone.

    A file whose stat is unchanged is not opened. Raises ValueError where a layout does not give paths in order.
    """
    found = Survey(0, [])
    recipes, last, waiting = index.Recipes(entry), b"", (0, 0)
    with index.opened(entry.kind, entry.corpus) as db, progress(0, f"files of {entry.corpus}", "file") as bar:
        every = iter(LAYOUTS[entry.layout].find(entry, root))
        for batch in iter(lambda: list(itertools.islice(every, BATCH)), []):
            files = [one for one in batch if isinstance(one, Found)]
            for one in batch:
                if isinstance(one, Refused):
                    refuse(one)
            if files:
                stale = _compare(db, recipes, files, last)
                last = index.key_of(files[-1].path)
                for key, size, *_ in stale:
                    waiting = _add(found.jobs, entry, root, key, size, waiting)
            found.files += len(files)
            bar.update(len(batch))
        db.execute("DELETE FROM files WHERE key > ?", [last])
    return found


def _add(jobs: list[Job], entry: Entry, root: Path, key: bytes, size: int, waiting: tuple[int, int]) -> tuple[int, int]:
    """One more file to scan, in the last shard or a new one; returns the files and bytes of the last shard."""
    count, total = waiting
    if not jobs or count >= SHARD_FILES or total >= SHARD_BYTES:
        jobs.append(Job(entry, root, key, key))
        return 1, size
    jobs[-1] = Job(entry, root, jobs[-1].first, key)
    return count + 1, total + size


def _compare(db: sqlite3.Connection, recipes: index.Recipes, files: list[Found], after: bytes) -> list[Stale]:
    """The files that must be opened. Those whose bytes and recipe are known are brought up to date in the index, gone ones dropped."""
    columns = "key, size, mtime_ns, inode, recipe, named, sha256, outcome"
    until = index.key_of(files[-1].path)
    known = {row[0]: row for row in db.execute(f"SELECT {columns} FROM files WHERE key > ? AND key <= ?", [after, until])}
    stale: list[Stale] = []
    settled: list[tuple[Any, ...]] = []
    for found in files:
        key = index.key_of(found.path)
        if key <= after:
            raise ValueError(f"'{found.path}' comes out of order")
        after = key
        stat = (found.size, found.mtime_ns, found.inode & 0x7FFFFFFFFFFFFFFF)
        recipe, named = recipes.of(found), index.named_of(found)
        old = known.pop(key, None)
        if old is not None and old[7] is not None and old[1:6] == (*stat, recipe, named):
            continue
        sha256 = old[6] if old is not None and old[1:4] == stat else ""
        outcome = _outcome(db, sha256, recipe) if sha256 else None
        if outcome is None:
            stale.append((key, *stat, recipe, named, sha256))
        else:
            settled.append((key, *stat, recipe, named, sha256, outcome[0]))
    insert = "INSERT OR REPLACE INTO files (key, size, mtime_ns, inode, recipe, named, sha256, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    db.executemany(insert, settled)
    db.executemany(insert, ((*row, None) for row in stale))
    db.executemany("DELETE FROM files WHERE key = ?", [(key,) for key in known])
    return stale


def _outcome(db: sqlite3.Connection, sha256: str, recipe: str) -> tuple[int] | None:
    found: tuple[int] | None = db.execute("SELECT id FROM outcomes WHERE sha256 = ? AND recipe = ?", [sha256, recipe]).fetchone()
    return found


def scan(job: Job) -> Scanned:
    """Hash the files of a shard, decode those whose bytes nobody has seen, and write what is in them to the index."""
    kind, corpus = job.entry.kind, job.entry.corpus
    wanted = "SELECT key, size, recipe, named, sha256 FROM files WHERE key BETWEEN ? AND ? AND outcome IS NULL ORDER BY key"
    hashed = 0
    results: dict[tuple[str, str], str] = {}
    files: list[tuple[str, str, bytes]] = []
    unread: list[tuple[bytes]] = []
    with index.opened(kind, corpus) as db:
        waiting = db.execute(wanted, [job.first, job.last]).fetchall()
        for key, size, recipe, named, sha256 in waiting:
            path = index.path_of(key)
            try:
                content = sha256 or file_sha256(job.root / path)
            except OSError:
                content = f"unread {path}"  # its refusal belongs to this path, and the next scan tries again
                unread.append((key,))
            hashed += not sha256
            if (content, recipe) not in results and _outcome(db, content, recipe) is None:
                found = Found(path, size, cuts=_marked(named), sha256=content)
                results[content, recipe] = writable(json.dumps(_result(job, found), ensure_ascii=False))
            files.append((content, recipe, key))
    with index.opened(kind, corpus) as db:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR IGNORE INTO outcomes (sha256, recipe, result) VALUES (?, ?, ?)", [(*name, text) for name, text in results.items()])
        update = "UPDATE files SET sha256 = ?1, outcome = (SELECT id FROM outcomes WHERE sha256 = ?1 AND recipe = ?2) WHERE key = ?3"
        db.executemany(update, files)
        db.executemany("UPDATE files SET sha256 = '', mtime_ns = -1 WHERE key = ?", unread)
    return Scanned(hashed, len(results))


def forget(entry: Entry) -> None:
    """Drop what no file holds any more; called after a scan, so that a file under a new name is known by its bytes."""
    with index.opened(entry.kind, entry.corpus) as db:
        db.execute("DELETE FROM outcomes WHERE id NOT IN (SELECT outcome FROM files WHERE outcome IS NOT NULL)")


def _marked(named: str) -> tuple[Cut, ...]:
    """Cuts that carry only their number, so that an edited transcript decodes nothing."""
    return tuple(Cut(start_s, end_s, {CUT: str(number)}) for number, (start_s, end_s, _) in enumerate(json.loads(named)[1]))


def _result(job: Job, found: Found) -> list[list[Any]]:
    """What is in a file, whatever its name: measured recordings and refusals, each with the part of its path after the file's."""
    rows: list[Any] = []
    refused: list[Any] = []
    try:
        for recording in _read(job, found):
            problem = recording if isinstance(recording, Refused) else check(recording, job.entry.duration_s)
            if problem is not None:
                refused.append([problem.path[len(found.path) :], problem.reason, problem.detail])
            elif isinstance(recording, Recording):
                rows.append(_measured(found, recording))
    except BadFileError as error:
        # What was read before is not used either: of a broken file nobody knows the rest.
        return [[], [*refused, ["", error.reason, error.detail]]]
    return [rows, refused]


def _read(job: Job, found: Found) -> Iterator[Recording | Refused]:
    path = job.root / found.path
    try:
        with path.open("rb") as file:
            wrong = wrong_extension(found.path, file.read(64))
    except OSError as error:
        raise BadFileError("bad_path" if isinstance(error, FileNotFoundError) else "unreadable", str(error.strerror)) from None
    if wrong:
        raise BadFileError("wrong_extension", wrong)
    yield from LAYOUTS[job.entry.layout].read(job.entry, job.root, found)


def _measured(found: Found, recording: Recording) -> list[Any]:
    samples, fields = recording.samples, dict(recording.fields)
    cut = int(fields.pop(CUT, -1))
    return [
        recording.path[len(found.path) :],
        clip_id_of(samples, recording.rate),
        recording.sha256,
        recording.rate,
        len(samples),
        samples.shape[1],
        round(rms_dbfs(to_mono(samples)), 3),
        fields,
        cut,
        *recording.place,
    ]
