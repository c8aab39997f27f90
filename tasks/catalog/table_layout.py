"""Layout `table`: sound files that rows of a table name, CSV to Parquet, NeMo manifests among them."""

import glob
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.catalog.entry_keys import Join, Table
from tasks.catalog.files import within
from tasks.catalog.found import QUESTIONS, Fields, Found, Refused
from tasks.catalog.manifest import Named, find_named, seconds_of
from tasks.catalog.params import Entry
from tasks.catalog.questions import BadQuestionError, ask
from tasks.catalog.tables import MORE, Row, read_table, value_at
from tasks.catalog.transcripts import fill
from tasks.common.errors import UserError


def find(entry: Entry, root: Path) -> Iterator[Found | Refused]:
    """Files that rows of the entry's tables name, with the row's columns and the pattern's groups as fields."""
    assert entry.table is not None
    paths = sorted(Path(path) for path in glob.glob(f"{glob.escape(str(root))}/{entry.table.path}"))  # noqa: PTH207, a folder of any name
    if not paths:
        raise UserError(str(root / entry.table.path), "no such table", "Correct 'table.path' in the catalog entry, or fetch the corpus anew")
    what = f"no row of {entry.table.path}"
    yield from find_named(entry, root, (row for path in paths for row in _rows(entry, entry.table, root, path)), what)


def _rows(entry: Entry, table: Table, root: Path, path: Path) -> Iterator[Named]:
    place = within(root, path).relative_to(root)
    names = {"table": path.name.split(".")[0], "folder": place.parent.as_posix()}
    beside = _joined(root, table.join, names) if table.join else {}
    for number, row in enumerate(read_table(path), start=2 if path.suffix in (".csv", ".tsv") else 1):
        if table.join:
            row |= beside.get(str(row.get(table.join.column)), {})
        where = f"row {number} of {place}"
        if number <= 2:
            _check_columns(row, table, names, path)
        file = _file(row, table.file, names)
        if MORE in row:
            detail = f"{where}: {len(row[MORE])} cell(s) more than there are columns; quote text that holds the delimiter"
            yield Named(file, None, None, {}, detail, "bad_row")
            continue
        try:
            start, end = _stretch(row, table)
            fields = _fields(row, table, names)
            if entry.questions:
                fields[QUESTIONS] = json.dumps(ask(entry.questions, row, names), ensure_ascii=False)
        except BadQuestionError as error:
            yield Named(file, None, None, {}, f"{where}: {error}", "bad_question")
        except ValueError as error:
            yield Named(file, None, None, {}, f"{where}: {error}", "bad_cut")
        else:
            yield Named(file, start, end, fields, where)


def _joined(root: Path, join: Join, names: Fields) -> dict[str, Row]:
    """Rows of the second table by their key; raises UserError where one is missing or stands for two different rows."""
    path, rows = within(root, root / fill(join.path, names)), dict[str, Row]()
    for row in read_table(path):
        if join.key not in row:
            raise UserError(str(path), f"has no column '{join.key}'", f"Name the right one in table.join.key; it has: {', '.join(row)}")
        if rows.setdefault(str(row[join.key]), row) != row:
            raise UserError(str(path), f"'{row[join.key]}' stands twice in column '{join.key}'", "Keep one row a key")
    return rows


def _check_columns(row: Row, table: Table, names: Fields, path: Path) -> None:
    """The first rows have the columns that say which file is meant; a later one without them is refused by itself."""
    for column in _columns(table.file) + ([table.join.column] if table.join else []):
        if column not in names and column.split(".")[0] not in row:
            todo = f"Name the right one in the catalog entry; it has: {', '.join(row)}"
            raise UserError(str(path), f"has no column '{column}'", todo)


def _columns(form: str) -> list[str]:
    return re.findall(r"\{([^{}]+)\}", form) or [form]


def _file(row: Row, form: str, names: Fields) -> str:
    values = {column: str(value_at(row, column) or "") for column in _columns(form)} | names
    return fill(form, values) if "{" in form else values[form]


def _stretch(row: Row, table: Table) -> tuple[float | None, float | None]:
    start = value_at(row, table.start) if table.start else None
    if start in (None, ""):
        return None, None
    end = value_at(row, table.end) if table.end else None
    duration = value_at(row, table.duration) if table.duration else None
    first = seconds_of(start)
    return first, seconds_of(end) if end not in (None, "") else first + seconds_of(duration) if duration not in (None, "") else None


def _fields(row: Row, table: Table, names: Fields) -> Fields:
    """Every column of text or numbers, renamed where the entry says so; empty ones are none."""
    renamed = set(table.columns.values())
    fields = {key: value for key, value in row.items() if key not in renamed}
    for field, form in table.columns.items():
        fields[field] = _file(row, form, names) if "{" in form else value_at(row, form)
    return {key: text for key, value in fields.items() if isinstance(value, str | int | float) and (text := str(value))}
