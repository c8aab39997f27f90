"""Recordings that a table or manifest names: sorted, grouped by file and matched with what is on the disk.

The rows are held as an Arrow table, a few hundred bytes each, so that a million of them fit into memory.
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.catalog.entry_keys import compiled
from tasks.catalog.files import Listed, listing, locate
from tasks.catalog.found import QUESTIONS, Cut, Fields, Found, Refused, writable
from tasks.catalog.params import Entry
from tasks.catalog.sound_files import SUFFIXES
from tasks.catalog.transcripts import transcripts

BATCH = 10_000
LONGEST_S = 1e9  # thirty years: a time beyond it is no place in a recording
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("fields", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
    ]
)


def seconds_of(value: Any) -> float:
    """A time in seconds as a manifest gives it; raises ValueError where it is none."""
    try:
        seconds = float(value)
    except (TypeError, OverflowError):
        seconds = math.nan
    if not abs(seconds) < LONGEST_S:
        raise ValueError(f"{str(value)[:80]} is no time in seconds")
    return seconds


class Named(NamedTuple):
    """A row of a manifest: the file it names, the stretch of it (None: all of it), its fields, and where the row stands.

    With a `reason` the row is refused, and `row` says what is wrong with it.
    """

    path: str
    start_s: float | None
    end_s: float | None
    fields: Fields
    row: str
    reason: str = ""


def find_named(entry: Entry, root: Path, rows: Iterable[Named], what: str) -> Iterator[Found | Refused]:
    """The files that the rows name, each once with its cuts, and every sound file below `root` that no row names."""
    pattern = compiled(entry.pattern)
    skip = compiled(entry.skip) if entry.skip else None
    disk = (one for one in listing(root, SUFFIXES) if not (skip and skip.fullmatch(one.path)))
    text_of = transcripts(entry, root)
    for file, named in _beside(root, disk, _by_file(_sorted(entry, rows))):
        yield from (Refused(file.path, row.reason, row.row) for row in named if row.reason)
        group = [row for row in named if not row.reason]
        if named and not group:
            continue
        if isinstance(file, Refused):
            yield Refused(file.path, file.reason, f"{group[0].row}: {file.detail}") if group else file
        elif not group:
            yield Refused(file.path, "no_label", f"{what} does not name it")
        elif (match := pattern.fullmatch(file.path)) is None:
            yield Refused(file.path, "no_label", "its name does not match the pattern")
        else:
            groups = {key: value for key, value in match.groupdict().items() if value}
            yield from _found(file, group, groups | text_of(file.path, groups))


def _sorted(entry: Entry, rows: Iterable[Named]) -> pa.Table:
    def columns(batch: list[Named]) -> pa.Table:
        paths = [PurePosixPath(row.path.removeprefix(entry.strip)).as_posix() for row in batch]
        return pa.table(
            [
                [writable(path) for path in paths],
                [row.start_s for row in batch],
                [row.end_s for row in batch],
                [json.dumps(row.fields) for row in batch],
                [row.reason for row in batch],
                [writable(row.row) for row in batch],
            ],
            schema=SCHEMA,
        )

    stream = iter(rows)
    table = pa.concat_tables([SCHEMA.empty_table(), *(columns(batch) for batch in iter(lambda: list(itertools.islice(stream, BATCH)), []))])
    table = table.append_column("key", pc.replace_substring(table["path"], "/", "\0"))
    return table.sort_by("key").drop_columns("key")


def _by_file(table: pa.Table) -> Iterator[tuple[str, list[Named]]]:
    def rows() -> Iterator[Named]:
        for batch in table.to_batches(max_chunksize=BATCH):
            for row in batch.to_pylist():
                yield Named(row["path"], row["start_s"], row["end_s"], json.loads(row["fields"]), row["row"], row["reason"])

    for path, group in itertools.groupby(rows(), key=lambda row: row.path):
        yield path, list(group)


def _beside(
    root: Path, disk: Iterator[Listed | Refused], groups: Iterator[tuple[str, list[Named]]]
) -> Iterator[tuple[Listed | Refused, list[Named]]]:
    """Two streams of ascending paths as one; a file that no row names comes with no rows."""
    one = next(disk, None)
    for path, group in groups:
        key = path.split("/")
        # Where a name could not be written as it stands, its place in the order is not known.
        while one is not None and (one.path.split("/") < key or "\ufffd" in one.path):
            yield one, []
            one = next(disk, None)
        if one is not None and one.path == path:
            yield one, group
            one = next(disk, None)
        else:
            yield locate(root, path), group
    if one is not None:
        yield one, []
        yield from ((rest, []) for rest in disk)


def _found(file: Listed, group: list[Named], groups: Fields) -> Iterator[Found | Refused]:
    stretches: dict[tuple[float, float | None] | None, Fields] = {}
    for row in group:
        stretch = None if row.start_s is None else (row.start_s, row.end_s)
        if stretch not in stretches:
            stretches[stretch] = row.fields
        elif QUESTIONS in row.fields:
            stretches[stretch] = merged(stretches[stretch], row.fields)
        else:
            yield Refused(file.path, "duplicate", f"{row.row} names it again")
    if stretches.keys() == {None}:
        yield Found(*file, fields=stretches[None] | groups)
    elif stretches:
        cuts = [Cut(*(stretch or (0.0, None)), fields) for stretch, fields in stretches.items()]
        yield Found(*file, fields=groups, cuts=tuple(sorted(cuts, key=lambda cut: (cut.start_s, math.inf if cut.end_s is None else cut.end_s))))


def merged(one: Fields, other: Fields) -> Fields:
    """Fields of two rows of the same recording: the questions of both, and of the rest what they agree on."""
    asked = json.loads(one[QUESTIONS])
    asked += [question for question in json.loads(other[QUESTIONS]) if question not in asked]
    same = {key: value for key, value in one.items() if other.get(key) == value}
    return same | {QUESTIONS: json.dumps(asked, ensure_ascii=False)}
