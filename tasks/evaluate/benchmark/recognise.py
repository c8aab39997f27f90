"""A folder or file as downloaded: which benchmark it is, which version, and its items.

Every table of the folder is looked at, three folders deep; what its first row is called by decides. Parquet may hold the sounds.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.catalog.files import below
from tasks.catalog.tables import SUFFIXES, Row, read_table
from tasks.common.errors import UserError
from tasks.common.seeds import file_sha256
from tasks.evaluate.benchmark.items import BadItemError, Excluded, Item, Sound
from tasks.evaluate.benchmark.kinds import KINDS, Kind
from tasks.evaluate.benchmark.rows import MMAU_VERSIONS, Found, mmau_version

DEPTH = 3
CLOSED = 12  # labels of a task at most for its other labels to be wrong answers: emotions and vocal sounds are fewer, open answers many more


@dataclass(frozen=True)
class Benchmark:
    """What was found: `tables` are names below the folder with the SHA-256 of their bytes."""

    kind: Kind
    version: str
    tables: dict[str, str]
    items: list[Item]
    excluded: list[Excluded]

    @property
    def name(self) -> str:
        """Of the folder of its results."""
        return f"{self.kind.name}-{self.version}" if self.version in MMAU_VERSIONS else self.kind.name


def recognise(path: Path) -> Benchmark:
    """The benchmark at a path; raises UserError where there is none, or several."""
    if not path.exists():
        raise UserError(str(path), "no such file or folder", "Give the folder of a benchmark as downloaded, or its table")
    root = path if path.is_dir() else path.parent
    found = [(table, kind) for table in _tables(path) if (kind := _kind(_columns(table)))]
    kinds = {kind.name: kind for _, kind in found}
    if not found:
        raise UserError(str(path), f"no table of a benchmark that is known here ({_looked_for()})", "Unpack it as published, or give its table")
    if len(kinds) > 1:
        raise UserError(str(path), f"tables of several benchmarks: {', '.join(sorted(kinds))}", "Give the folder of one, or its table")
    kind = next(iter(kinds.values()))
    items, excluded = _items(kind, [table for table, _ in found], root)
    version = mmau_version(items) if kind.name == "mmau" else "as downloaded"
    tables = {table.relative_to(root).as_posix(): file_sha256(table) for table, _ in found}
    return Benchmark(kind, version, tables, items, excluded)


def _looked_for() -> str:
    return "; ".join(f"{kind.title}: {' or '.join(', '.join(sorted(layout)) for layout in kind.layouts)}" for kind in KINDS)


def _tables(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = []
    for folder, folders, files in os.walk(path):
        deep = len(Path(folder).relative_to(path).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and deep < DEPTH)
        found += [Path(folder) / name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return sorted(found)


def _columns(table: Path) -> set[str]:
    """Of the first row; none where the file is no table."""
    try:
        if table.suffix.lower() == ".parquet":
            return set(pq.read_schema(table).names)
        return set(next(read_table(table), {}))
    except (UserError, pa.ArrowException, OSError):
        return set()


def _kind(columns: set[str]) -> Kind | None:
    return next((kind for kind in KINDS for layout in kind.layouts if layout <= columns), None)


def _items(kind: Kind, tables: list[Path], root: Path) -> tuple[list[Item], list[Excluded]]:
    items: list[Item] = []
    excluded: list[Excluded] = []
    owner: dict[str, Path] = {}
    for table in tables:
        times = Counter[str]()
        sounds = _sound_columns(table)
        for row in _rows(table, root, sounds[:1]):
            try:
                if len(sounds) > 1:
                    raise BadItemError("several_sounds", f"{', '.join(sounds)}; a model is asked about one")
                made = kind.items(row)
            except (BadItemError, KeyError, TypeError, ValueError) as error:
                known = error if isinstance(error, BadItemError) else BadItemError("bad_row", f"{type(error).__name__}: {error}")
                name = str(row.row.get("id") or f"{table.relative_to(root).as_posix()}#{row.number}")
                excluded.append(Excluded(name, known.reason, known.detail))
                continue
            name = made[0].item_id
            if owner.setdefault(name, table) != table:
                raise UserError(str(root), f"item {name} is both in {owner[name].name} and in {table.name}", "Give one of the two tables")
            times[name] += 1
            items += [replace(item, item_id=f"{name}#{times[name]}") if times[name] > 1 else item for item in made]
    return _with_rivals(items) if kind.name == "mcr-bench" else items, excluded


def _sound_columns(table: Path) -> list[str]:
    """Columns of a shard that hold sounds, as Hugging Face's Audio feature does."""
    if table.suffix.lower() != ".parquet":
        return []
    structs = (one for one in pq.read_schema(table) if pa.types.is_struct(one.type))
    return [one.name for one in structs if {"bytes", "path"} <= {child.name for child in one.type}]


def _rows(table: Path, root: Path, sounds: list[str]) -> Iterator[Found]:
    """Rows without their sounds, which stay where they are until they are heard."""

    def file(name: str) -> Sound:
        bases = (table.parent, root, table.parent.parent)
        return Sound(next((str(base / name) for base in bases if below(name) and os.path.isfile(base / name)), ""))  # noqa: PTH113, False of a name that is too long

    rows: Iterator[Row] = read_table(table)
    if table.suffix.lower() == ".parquet":
        columns = [name for name in pq.read_schema(table).names if name not in _sound_columns(table)]
        try:
            rows = iter(pq.read_table(table, columns=columns, partitioning=None).to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise UserError(str(table), f"not a readable Parquet table ({type(error).__name__})", "Fetch it again") from None
    for number, row in enumerate(rows):
        yield Found(row, table, number, Sound(str(table), sounds[0], number) if sounds else None, file)


def _with_rivals(items: list[Item]) -> list[Item]:
    """Each with the labels that are wrong for it: the others of its task where they are few, else no for yes and yes for no."""
    labels: dict[str, set[str]] = {}
    for item in items:
        labels.setdefault(dict(item.groups)["task"], set()).add(item.answer)

    def rivals(item: Item) -> tuple[str, ...]:
        own = labels[dict(item.groups)["task"]]
        if len(own) <= CLOSED:
            return tuple(sorted(own - {item.answer}))
        return tuple({"yes", "no"} - {item.answer.strip().casefold()}) if item.answer.strip().casefold() in ("yes", "no") else ()

    return [replace(item, rivals=rivals(item)) for item in items]
