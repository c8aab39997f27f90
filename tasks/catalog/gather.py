"""From the index to the tables: the rows of every corpus, their duplicates and splits, in memory only as a few bytes a recording."""

import json
import logging
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.catalog.found import Refused, writable
from tasks.catalog.owed import each_of
from tasks.catalog.params import SPLITS, Entry
from tasks.catalog.rows import QUARANTINE, SCHEMAS, TABLE, rows_of
from tasks.catalog.splits import Codes, Keys, Marks
from tasks.catalog.writer import ROW_GROUP, RowWriter
from tasks.common.checksums import CheckedFile
from tasks.common.fanout import progress
from tasks.common.tables import read_parquet, read_rows

log = logging.getLogger("dinproof")


class Refusals:
    """The quarantine of one corpus while it is found and gathered."""

    def __init__(self, entry: Entry, path: Path) -> None:
        self.entry, self.path = entry, path
        self.reasons: Counter[str] = Counter()
        self._writer = RowWriter(path, QUARANTINE)

    def add(self, refused: Refused) -> None:
        """A refusal by its path below the corpus' root."""
        self.reasons[refused.reason] += 1
        path = f"{self.entry.root}/{refused.path}"
        self._writer.add({"path": path, "corpus": self.entry.corpus, "reason": refused.reason, "detail": writable(refused.detail)})

    def table(self) -> pa.Table:
        """All of them by path; nothing can be added after."""
        self._writer.close()
        return read_parquet(self.path).sort_by([("path", "ascending"), ("reason", "ascending"), ("detail", "ascending")])


@dataclass
class Part:
    """What one corpus gives to the catalog: rows on disk, without splits; clip ids and marks, (n,) each, in their order; its quarantine."""

    entry: Entry
    path: Path
    refusals: Refusals
    marks: Marks
    files: int
    licences: Counter[str]
    clips: Keys
    first: Keys
    second: Keys
    kept: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    splits: Codes = field(default_factory=lambda: np.zeros(0, np.int8))

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows that are kept, with their splits, some thousands at a time."""
        names = SCHEMAS[TABLE[self.entry.kind]].names if columns is None else columns
        start, given = 0, 0
        with CheckedFile(self.path) as file:
            for batch in file.iter_batches(ROW_GROUP, [name for name in names if name != "split"]):
                kept = self.kept[start : start + batch.num_rows]
                start += batch.num_rows
                piece = pa.Table.from_batches([batch]).filter(pa.array(kept))
                if "split" in names:
                    splits = pa.array([SPLITS[code] for code in self.splits[given : given + piece.num_rows].tolist()], pa.string())
                    piece = piece.append_column("split", splits)
                given += piece.num_rows
                yield piece.select(names)


def gather(entry: Entry, refusals: Refusals, files: int, holdout: list[str] | None, allow: list[str], folder: Path) -> Part:
    """Write a corpus' rows below `folder`; raises UserError where a recording lacks the field of the split."""
    marks = Marks(entry, holdout)
    columns = array("Q"), array("Q"), array("Q")
    licences: Counter[str] = Counter()
    path = folder / f"{entry.kind}-{entry.corpus}.parquet"
    with RowWriter(path, SCHEMAS[TABLE[entry.kind]]) as writer, progress(0, f"rows of {entry.corpus}", "clip") as bar:
        for one in rows_of(entry, allow):
            if isinstance(one, Refused):
                refusals.add(one)
                continue
            row, fields, place = one
            writer.add(row)
            licences[row["licence"]] += 1
            for column, value in zip(columns, (int(row["clip_id"], 16), *marks.of(fields, place, row["path"])), strict=True):
                column.append(value)
            bar.update()
    clips, first, second = (np.frombuffer(column, np.uint64) if column else np.zeros(0, np.uint64) for column in columns)
    return Part(entry, path, refusals, marks, files, licences, clips, first, second)


def drop_duplicates(parts: Sequence[Part]) -> None:
    """Keep the first of every clip id over all corpora in turn, and refuse the others, naming the first."""
    clips = np.concatenate([np.zeros(0, np.uint64), *(part.clips for part in parts)])
    _, first, inverse = np.unique(clips, return_index=True, return_inverse=True)
    origin = first[inverse]
    again = np.flatnonzero(origin != np.arange(len(clips)))
    bounds = np.cumsum([0, *(len(part.clips) for part in parts)])
    paths = _paths(parts, bounds, np.unique(np.concatenate([again, origin[again]])))
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        part.kept = origin[start:end] == np.arange(start, end)
        for number in again[(again >= start) & (again < end)].tolist():
            path = paths[number].removeprefix(f"{part.entry.root}/")
            part.refusals.add(Refused(path, "duplicate", f"the same samples as {paths[int(origin[number])]}"))


def _paths(parts: Sequence[Part], bounds: NDArray[np.int64], wanted: NDArray[np.int64]) -> dict[int, str]:
    """The paths of rows by their number over all corpora."""
    paths: dict[int, str] = {}
    for part, start in zip(parts, bounds[:-1].tolist(), strict=True):
        if not ((wanted >= start) & (wanted < start + len(part.clips))).any():
            continue
        with CheckedFile(part.path) as file:
            for batch in file.iter_batches(ROW_GROUP, ["path"]):
                here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)]
                paths |= zip(here.tolist(), batch.column(0).take(pa.array(here - start)).to_pylist(), strict=True)
                start += batch.num_rows
    return paths


def split(part: Part) -> None:
    """Give every recording that is kept its split, and say in the log what the corpus gives."""
    part.splits = part.marks.assign(part.first[part.kept], part.second[part.kept], _values_of(part)) if part.kept.any() else np.zeros(0, np.int8)
    counts: Counter[str] = Counter({name: int((part.splits == code).sum()) for code, name in enumerate(SPLITS)})
    log.info("  %s: %s; refused: %s", part.entry.corpus, _listed(counts), _listed(part.refusals.reasons))


def _values_of(part: Part) -> Callable[[str], set[str]]:
    def values(field: str) -> set[str]:
        return {json.loads(row["metadata"]).get(field, "") for row in read_rows(part.path, ["metadata"])}

    return values


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count) or "none"


def licences_of(part: Part) -> set[str]:
    """Every licence that a usable recording of the corpus is under."""
    return {one for licence in part.licences for one in each_of(licence)}
