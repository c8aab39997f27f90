"""Tables and files at rest: Parquet written whole or not at all, the same bytes for the same rows."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# The layout of Hugging Face's Audio feature, so that `datasets`, DuckDB and pyarrow open the shards directly.
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def publish(temporary: Path, final: Path) -> None:
    """fsync, then rename: a file under its final name is complete."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def temporary_name(path: Path) -> Path:
    """Beside the final name, so that the rename stays on one file system."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    temporary.write_bytes(data)
    publish(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, making its folder."""
    write_bytes(path, text.encode())


def write_parquet(path: Path, rows: list[dict[str, Any]] | pa.Table, schema: pa.Schema | None = None, row_group: int = 256) -> None:
    """Write rows atomically; `schema` is required for a list, so that an empty table keeps its columns.

    Row groups are small because audio shards are read a few rows at a time.
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    pq.write_table(table, temporary, compression="zstd", row_group_size=row_group)
    publish(temporary, path)


def read_parquet(path: Path, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """One file, or every *.parquet of a folder in name order, as one table."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path}: no Parquet files; run the stage that makes them")
    return pa.concat_tables([pq.read_table(file, columns=columns, filters=filters, partitioning=None) for file in files])


def read_rows(path: Path, columns: list[str] | None = None, filters: Any = None) -> list[dict[str, Any]]:
    """`read_parquet` as a list of dicts."""
    rows: list[dict[str, Any]] = read_parquet(path, columns, filters).to_pylist()
    return rows


def prune(folder: Path, keep: set[str], pattern: str = "*.parquet") -> int:
    """Delete the files of `folder` that match `pattern` and are not in `keep`, and leftovers of killed writers."""
    gone = [path for path in folder.glob(pattern) if path.name not in keep]
    for path in [*gone, *folder.glob(".*.tmp")]:
        path.unlink(missing_ok=True)
    return len(gone)
