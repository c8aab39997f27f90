"""Tables and files at rest: Parquet written whole or not at all, the same bytes for the same rows."""

import glob
import os
import shutil
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.checksums import Checksums, block_checksums, seal
from tasks.common.sha256sums import write_sums

# The layout of Hugging Face's Audio feature, so that `datasets`, DuckDB and pyarrow open the shards directly.
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SOUNDS = ("audio", "rir")  # columns that are most of a file


def sync(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(temporary: Path, final: Path) -> None:
    """fsync, then rename: a file under its final name is complete. What killed writers of the same file left is removed."""
    sync(temporary)
    temporary.replace(final)
    sync(final.parent)
    remove_leftovers(final)


def sync_folder(folder: Path) -> None:
    """Wait until all of a folder is on disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def publish_folder(temporary: Path, final: Path) -> None:
    """`publish` for a folder; what lies under the final name goes aside first, so that the name never means a part of a folder.

    Its files are listed with their checksums in SHA256SUMS.
    """
    write_sums(temporary)
    sync_folder(temporary)
    aside = temporary_name(final).with_suffix(".old.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.replace(aside)
    temporary.replace(final)
    sync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)
    remove_leftovers(final)


def remove_leftovers(final: Path) -> None:
    """Take away temporary files and folders of a final name whose writers are dead."""
    for path in final.parent.glob(f".{glob.escape(final.name)}.*.tmp"):
        writer = path.name.removeprefix(f".{final.name}.").partition(".")[0]
        if writer.isdigit() and _lives(int(writer)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    state = Path(f"/proc/{process}/stat")  # a zombie is dead: not every container's first process waits for its orphans
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def temporary_name(path: Path) -> Path:
    """Beside the final name, so that the rename stays on one file system."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, making its folder."""
    write_bytes(path, text.encode())


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """A Parquet file under its temporary name, published with its checksums when the block ends; one that fails leaves nothing.

    `options` are those of `pyarrow.parquet.ParquetWriter`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            yield writer
            writer.add_key_value_metadata(block_checksums(temporary))
        seal(temporary)
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_parquet(path: Path, rows: list[dict[str, Any]] | pa.Table, schema: pa.Schema | None = None, row_group: int = 256) -> None:
    """Write rows atomically; `schema` is required for a list, so that an empty table keeps its columns.

    Row groups are small because audio shards are read a few rows at a time.
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
    with parquet_writer(path, table.schema, compression="zstd") as writer:
        writer.write_table(table, row_group_size=row_group)


def read_parquet(path: Path, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """One file, or every *.parquet of a folder in name order, as one table.

    `filters` as in `pyarrow.parquet.read_table`; one that is an expression names columns of `columns` alone. Raises UserError where a file is not
    what was written.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path}: no Parquet files; run the stage that makes them")
    for file in files:
        Checksums(file).check(None if columns is None else [*columns, *_named(filters)])
    return pa.concat_tables([pq.read_table(file, columns=columns, filters=filters, partitioning=None) for file in files])


def _named(filters: Any) -> Iterator[str]:
    """Columns of filters in the form of tuples."""
    if isinstance(filters, tuple):
        yield filters[0]
    elif isinstance(filters, list):
        for one in filters:
            yield from _named(one)


def checked(files: Iterable[Path], without: Container[str] = ()) -> list[str]:
    """Names of files, for DuckDB, which checks nothing itself. Raises UserError where one is not what was written, the columns `without` left out."""
    names = []
    for file in files:
        sums = Checksums(file)
        sums.check([name for name in pq.read_schema(file).names if name not in without] if without else None)
        names.append(str(file))
    return names


def read_schema(path: Path) -> pa.Schema:
    """The columns of a file. Raises UserError where its footer is not what was written."""
    Checksums(path)
    return pq.read_schema(path)


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
