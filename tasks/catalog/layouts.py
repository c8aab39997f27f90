"""How corpora lie on disk. Each layout finds the files of an entry, and reads the recordings in one of them.

A layout is a pair of functions: `find(entry, root)` lists the files (sorted by path) and those refused by name alone;
`read(entry, root, found)` yields the recordings of one file, or why one is refused.
"""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks.catalog import parquet_layout, sofa_layout
from tasks.catalog.files import below, listing
from tasks.catalog.found import Found, Recording, Refused
from tasks.catalog.params import Entry
from tasks.catalog.sound_files import SUFFIXES, open_sound, read_stretches
from tasks.common.errors import UserError

Finding = tuple[list[Found], list[Refused]]


def find_by_pattern(entry: Entry, root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Finding:
    """Files whose path below the root matches the entry's pattern; its named groups are their fields."""
    pattern = re.compile(entry.pattern)
    found: list[Found] = []
    refused: list[Refused] = []
    for path, size in listing(root, suffixes, refused):
        match = pattern.fullmatch(path)
        if match:
            found.append(Found(path, size, {key: value for key, value in match.groupdict().items() if value is not None}))
        else:
            refused.append(Refused(path, "no_label", "its name does not match the pattern"))
    return found, refused


def find_by_table(entry: Entry, root: Path) -> Finding:
    """Files that rows of the entry's table name, with the row's columns and the pattern's groups as fields."""
    assert entry.table is not None
    rows = _table_rows(root / entry.table.path, entry.table.file)
    pattern = re.compile(entry.pattern)
    refused: list[Refused] = []
    sizes = dict(listing(root, SUFFIXES, refused))
    found: list[Found] = []
    named: set[str] = set()
    for number, row in enumerate(rows, start=2):
        path = PurePosixPath(row.get(entry.table.file) or "").as_posix()
        named.add(path)
        match = pattern.fullmatch(path)
        if not below(path):
            refused.append(Refused(path, "bad_path", f"row {number} of {entry.table.path} leaves the folder"))
        elif not (root / path).is_file():
            refused.append(Refused(path, "bad_path", f"row {number} of {entry.table.path} names a file that is not there"))
        elif match is None:
            refused.append(Refused(path, "no_label", "its name does not match the pattern"))
        else:
            fields = {key: value for key, value in {**row, **match.groupdict()}.items() if value}
            found.append(Found(path, (root / path).stat().st_size, fields))
    refused += [Refused(path, "no_label", f"no row of {entry.table.path} names it") for path in sizes if path not in named]
    return sorted(found, key=lambda one: one.path), refused


def _table_rows(path: Path, column: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{str(key): str(value) for key, value in row.items() if key and value is not None} for row in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(str(path), f"not a readable CSV table ({type(error).__name__})", "Save it as UTF-8 CSV with a header row") from None
    if column not in columns:
        raise UserError(str(path), f"has no column '{column}'", f"Name the right one in table.file; it has: {', '.join(columns)}")
    return rows


def read_sound_file(entry: Entry, root: Path, found: Found) -> Iterator[Recording | Refused]:
    """The file as one recording, or as equal stretches of about `segment_s`: at least three, so that no split lacks the type."""
    path = root / found.path
    with open_sound(path) as sound:
        frames, rate = sound.frames, sound.samplerate
    if frames > entry.duration_s[1] * rate:
        yield Refused(found.path, "too_long", f"{frames / rate:.2f} s, at most {entry.duration_s[1]} s")
        return
    if entry.segment_s is None:
        for samples in read_stretches(path, [(0, frames)]):
            yield Recording(found.path, samples, rate, found.sha256, found.fields)
        return
    count = max(3, int(frames / (entry.segment_s * rate)))
    stretches = [(frames * index // count, frames * (index + 1) // count) for index in range(count)]
    for index, ((start, end), samples) in enumerate(zip(stretches, read_stretches(path, stretches), strict=True)):
        yield Recording(f"{found.path}@{start}-{end}", samples, rate, found.sha256, found.fields, (index, count))


class Layout(NamedTuple):
    """How to find the files of a layout and how to read one."""

    find: Callable[[Entry, Path], Finding]
    read: Callable[[Entry, Path, Found], Iterator[Recording | Refused]]


LAYOUTS = {
    "folder": Layout(find_by_pattern, read_sound_file),
    "table": Layout(find_by_table, read_sound_file),
    "parquet": Layout(lambda entry, root: find_by_pattern(entry, root, (".parquet",)), parquet_layout.read),
    "sofa": Layout(lambda entry, root: find_by_pattern(entry, root, (".sofa",)), sofa_layout.read),
}
