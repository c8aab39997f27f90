"""Tables of any length written in constant memory, the same bytes whatever pieces the rows come in."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from tasks.common.tables import parquet_writer

ROW_GROUP = 8192  # some MB; a catalog is read whole or by columns


class RowWriter:
    """A Parquet file under construction: row groups of exactly 8192 rows, under its final name only when complete."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self._opened = ExitStack()
        self._writer = self._opened.enter_context(parquet_writer(path, schema, compression="zstd"))
        self._rows: list[dict[str, Any]] = []
        self._pieces: list[pa.Table] = []

    def add(self, row: dict[str, Any]) -> None:
        """One row; keys outside the schema are left out."""
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def write(self, piece: pa.Table) -> None:
        """Some rows, in the columns of the schema."""
        self._flush()
        self._take(piece.select(self.schema.names))

    def _flush(self) -> None:
        if self._rows:
            columns = [pa.array([row[field.name] for row in self._rows], field.type) for field in self.schema]
            self._rows = []
            self._take(pa.Table.from_arrays(columns, schema=self.schema))

    def _take(self, piece: pa.Table) -> None:
        self._pieces.append(piece)
        if sum(part.num_rows for part in self._pieces) >= ROW_GROUP:
            whole = pa.concat_tables(self._pieces)
            full = whole.num_rows // ROW_GROUP * ROW_GROUP
            for start in range(0, full, ROW_GROUP):
                self._writer.write_table(whole.slice(start, ROW_GROUP).combine_chunks(), row_group_size=ROW_GROUP)
            self._pieces = [whole.slice(full).combine_chunks()]

    def close(self) -> None:
        """Write what is left and give the file its name."""
        self._flush()
        rest = pa.concat_tables([self.schema.empty_table(), *self._pieces]).combine_chunks()
        if rest.num_rows:
            self._writer.write_table(rest, row_group_size=ROW_GROUP)
        self._opened.close()

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._opened.__exit__(kind, error, trace)
