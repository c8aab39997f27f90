"""A table has the same bytes whatever pieces its rows come in, and no name before it is whole."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.catalog import writer

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int32())])


def rows(start: int, end: int) -> list[dict[str, object]]:
    return [{"name": f"row {number}", "number": number} for number in range(start, end)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=8))
def test_pieces_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[tuple[int, bool]]) -> None:
    monkeypatch.setattr(writer, "ROW_GROUP", 7)
    total = sum(count for count, _ in cuts)
    with writer.RowWriter(tmp_path / "whole.parquet", SCHEMA) as whole:
        whole.write(pa.Table.from_pylist(rows(0, total), SCHEMA))
    start = 0
    with writer.RowWriter(tmp_path / "pieces.parquet", SCHEMA) as pieces:
        for count, one_by_one in cuts:
            if one_by_one:
                for row in rows(start, start + count):
                    pieces.add(row | {"other": None})
            else:
                pieces.write(pa.Table.from_pylist(rows(start, start + count), SCHEMA))
            start += count
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    file = pq.ParquetFile(tmp_path / "pieces.parquet")
    assert file.read().to_pylist() == rows(0, total)
    assert all(file.metadata.row_group(group).num_rows == 7 for group in range(file.num_row_groups - 1))


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), writer.RowWriter(path, SCHEMA) as table:
        table.add(rows(0, 1)[0])
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old" and [one.name for one in tmp_path.iterdir()] == ["table.parquet"]
