"""Tables at rest as a stream of rows: CSV, TSV, JSON, JSON lines (gzipped too) and Parquet."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.catalog.files import reasonable, regular
from tasks.common.errors import UserError

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
MORE = "cells beyond the columns"  # the key of those of a row of CSV, which no column has
Row = dict[str, Any]


def read_table(path: Path) -> Iterator[Row]:
    """Rows of a table, in order; of a JSON object of objects each with its key in column `key`.

    Raises UserError where the file does not read as what its suffix says.
    """
    name = path.name.lower().removesuffix(".gz")
    form = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    if not form:
        raise UserError(str(path), "no table", f"Give it one of the suffixes {', '.join(SUFFIXES)}")
    regular(path)
    try:
        if form == ".parquet":
            yield from _parquet(path)
            return
        with _text(reasonable(path)) as file:
            yield from {".csv": _csv, ".tsv": _tsv, ".json": _json}.get(form, _lines)(file)
    except (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error, pa.ArrowException) as error:
        todo = f"Save it as UTF-8 {form[1:].upper()}" + (" with a header row" if form in (".csv", ".tsv") else "")
        raise UserError(str(path), f"not a readable {form[1:].upper()} table ({type(error).__name__})", todo) from None


def value_at(row: Row, column: str) -> Any:
    """The value of a column; `a.b` is key b of column a where no column has that name. None where there is none."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _csv(file: IO[str]) -> Iterator[Row]:
    return _cells(csv.DictReader(file, restkey=MORE))


def _tsv(file: IO[str]) -> Iterator[Row]:
    # Common Voice's sentences hold quotation marks that quote nothing.
    return _cells(csv.DictReader(file, restkey=MORE, delimiter="\t", quoting=csv.QUOTE_NONE))


def _cells(reader: "csv.DictReader[str]") -> Iterator[Row]:
    columns = [name for name in reader.fieldnames or [] if name]
    if len(set(columns)) < len(columns):
        raise ValueError("two columns of the same name")
    for row in reader:
        yield {key: value for key, value in row.items() if key and (key != MORE or any(value))}


def _json(file: IO[str]) -> Iterator[Row]:
    """A list of objects, an object of objects, an object that holds a list of them, or JSON lines, which NeMo names .json too."""
    text = file.read()
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        yield from _lines(io.StringIO(text))
        return
    if isinstance(value, dict):
        inner = next((rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)), [value])
        value = [{"key": key, **row} for key, row in value.items()] if value and all(isinstance(row, dict) for row in value.values()) else inner
    yield from _checked(value)


def _lines(file: IO[str]) -> Iterator[Row]:
    return _checked(json.loads(line) for line in file if line.strip())


def _checked(rows: Any) -> Iterator[Row]:
    for row in rows if isinstance(rows, Iterable) else [rows]:
        if not isinstance(row, dict):
            raise ValueError("a row that is no object")
        yield row


def _parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=1000):
            yield from batch.to_pylist()
