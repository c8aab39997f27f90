"""Checksums of a Parquet file, in its own metadata: a bit that flipped on disk is found before the value it spoilt is used.

Two texts among the file's key-value metadata. `dinproof.blocks` holds the CRC-32 of every 32 kB of the file up to its footer, `dinproof.footer` that
of the footer, its own eight digits read as zeros. A reader checks the footer, then the blocks that hold the columns and row groups it reads, before
Arrow parses anything. (Parquet's own page checksums leave out page headers and footer, where a flipped bit changes values as well.)
A file without the two texts, from elsewhere or from an earlier version, is read unchecked.
"""

import os
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import UserError

BLOCK = 1 << 15  # of a shard's small columns, so many bytes more than asked are read; 8 digits for each are 0.02 % of the file
BLOCKS, FOOTER = "dinproof.blocks", "dinproof.footer"
END = b"PAR1"
T = TypeVar("T", pa.Table, pa.RecordBatch)
_TAIL = 1 << 16  # what follows the key FOOTER in a footer is the Arrow schema, some kB
_BLANK = "0" * 8
_KEY = re.compile(re.escape(FOOTER).encode() + rb"\x18\x08([0-9a-f]{8})")  # Thrift: field 2, a text of 8 bytes


class ChangedError(UserError):
    """A file that a stage wrote holds something else now."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "its content is not what was written (checksum)", _advice(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return (ChangedError, (Path(self.where),))


def _advice(path: Path) -> str:
    folder, name = Path(*path.parts[:2]), path.parts[1] if len(path.parts) > 1 else ""
    if folder.parent.name == "models" and "@" in name:
        return f"Have it made again: rm -r {shlex.quote(str(folder))} && python -m tasks.training {name}"
    if folder.parent.name == "models" and name.endswith(".retrained"):
        return f"Have it made again: rm -r {shlex.quote(str(folder))} && python -m flows.retrain"
    if path.parts[0] in ("data", "models", "reports"):
        return f"Have it made again: rm {shlex.quote(str(path))} && make curriculum"
    return "Take it again from where it came from"


def _crc(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


def _blocks(handle: int, numbers: Iterable[int], end: int) -> Iterator[str]:
    """Checksums of blocks of an open file, the last of which stops at `end`."""
    return (_crc(os.pread(handle, min(BLOCK, end - number * BLOCK), number * BLOCK)) for number in numbers)


def block_checksums(path: Path) -> dict[str, str]:
    """Metadata for a file whose row groups are written and whose footer is not; `seal` fills in the second text."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        return {BLOCKS: "".join(_blocks(file.fileno(), range(-(-size // BLOCK)), size)), FOOTER: _BLANK}


def seal(path: Path) -> None:
    """Put the footer's checksum into its place."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size - 8)
        start = size - 8 - int.from_bytes(file.read(4), "little")
        file.seek(start)
        footer = file.read(size - 8 - start)
        *_, place = _KEY.finditer(footer)
        file.seek(start + place.start(1))
        file.write(_crc(footer).encode())


class Checksums:
    """What a Parquet file held when it was written. Raises ChangedError where its footer is another now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: str | None = None
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            tail = os.pread(file.fileno(), _TAIL, max(0, size - _TAIL))
            if FOOTER.encode() not in tail:
                return
            length = int.from_bytes(tail[-8:-4], "little")
            self.end = size - 8 - length
            footer = os.pread(file.fileno(), length, self.end) if self.end > 0 else b""
        places = list(_KEY.finditer(footer))
        if not places or tail[-4:] != END:
            raise ChangedError(path)
        start, stop = places[-1].span(1)
        if footer[start:stop].decode() != _crc(footer[:start] + _BLANK.encode() + footer[stop:]):
            raise ChangedError(path)
        self.metadata = pq.read_metadata(path)
        self.blocks = self.metadata.metadata[BLOCKS.encode()].decode()
        self.leaves = [self.metadata.schema.column(number).path for number in range(self.metadata.num_columns)]

    def check(self, columns: Iterable[str] | None = None, groups: Iterable[int] | None = None) -> None:
        """Read what holds these columns (None: all) of these row groups; raises ChangedError where it is not what was written.

        A nested column is named whole (`audio`) or by its leaf (`audio.bytes`).
        """
        if self.blocks is None:
            return
        if columns is None and groups is None:
            wanted = set(range(-(-self.end // BLOCK)))
        else:
            wanted = {number for start, end in self._ranges(columns, groups) for number in range(start // BLOCK, -(-end // BLOCK))}
        numbers = sorted(wanted)
        with self.path.open("rb", buffering=0) as file:
            for number, found in zip(numbers, _blocks(file.fileno(), numbers, self.end), strict=True):
                if self.blocks[8 * number : 8 * number + 8] != found:
                    raise ChangedError(self.path)

    def _ranges(self, columns: Iterable[str] | None, groups: Iterable[int] | None) -> Iterator[tuple[int, int]]:
        """First byte and end of every column chunk."""
        names = None if columns is None else [*columns]
        leaves = [number for number, leaf in enumerate(self.leaves) if names is None or any(f"{leaf}.".startswith(f"{name}.") for name in names)]
        for group in range(self.metadata.num_row_groups) if groups is None else groups:
            row_group = self.metadata.row_group(group)
            for leaf in leaves:
                chunk = row_group.column(leaf)
                start = chunk.data_page_offset if chunk.dictionary_page_offset is None else min(chunk.dictionary_page_offset, chunk.data_page_offset)
                yield start, start + chunk.total_compressed_size


def _plain(read: T) -> T:
    """Rows without the checksums of the file they come from, which a file written of them would take over."""
    found = {key: value for key, value in (read.schema.metadata or {}).items() if key.decode() not in (BLOCKS, FOOTER)}
    return cast(T, read.replace_schema_metadata(found or None))


class CheckedFile:
    """A Parquet file, open, of which nothing is read that is not what was written; the methods are those of `pyarrow.parquet.ParquetFile`."""

    def __init__(self, path: Path) -> None:
        self.checksums = Checksums(path)
        self.file = pq.ParquetFile(path, pre_buffer=False)  # else what was read is kept until the file is closed
        self.metadata: Any = self.file.metadata
        self.schema_arrow: pa.Schema = self.file.schema_arrow
        self.num_row_groups: int = self.file.num_row_groups

    def read(self, columns: list[str] | None = None, *, use_threads: bool = True) -> pa.Table:
        """All row groups."""
        self.checksums.check(columns)
        return _plain(self.file.read(columns, use_threads=use_threads))

    def read_row_group(self, group: int, columns: list[str] | None = None, *, use_threads: bool = True) -> pa.Table:
        """One row group."""
        self.checksums.check(columns, [group])
        return _plain(self.file.read_row_group(group, columns, use_threads=use_threads))

    def iter_batches(self, batch_size: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of at most so many rows, each from one row group."""
        for group in range(self.num_row_groups):
            self.checksums.check(columns, [group])
            yield from map(_plain, self.file.iter_batches(batch_size, row_groups=[group], columns=columns))

    def __enter__(self) -> "CheckedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
