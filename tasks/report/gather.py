"""The files of a build as DuckDB views, and what several sections ask of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from tasks.common.errors import UserError
from tasks.common.tables import SOUNDS, checked
from tasks.evaluate.params import CORE

Rows = list[dict[str, Any]]

_SOURCES = {
    "speech": "data/catalog/speech.parquet",
    "noise": "data/catalog/noise.parquet",
    "measured_rooms": "data/catalog/rooms.parquet",
    "quarantine": "data/catalog/quarantine.parquet",
    "rooms": "data/rooms/*.parquet",
    "items": "data/items.parquet",
    "mixtures": "data/mixtures/*.parquet",
    "train": "data/curriculum/train/*.parquet",
    "answers": "reports/answers.parquet",
    "results": "reports/results.parquet",
}
# Where a build has them, the page says more.
_MORE = {
    "corpora": "data/catalog/corpora.parquet",
    "difficulty": "data/difficulty.parquet",
    "grid": "reports/grid.parquet",
    "quality": "reports/quality.parquet",
}


def connect() -> duckdb.DuckDBPyConnection:
    """A connection with a view for every table of the build; raises UserError where one that every build has is not there yet."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for name, pattern in (_SOURCES | _MORE).items():
        if files := sorted(Path().glob(pattern)):
            checked(files, SOUNDS)  # those that are shown are read, and checked, elsewhere
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}', hive_partitioning = false)")
        elif name in _SOURCES:
            raise UserError(pattern, "no such file", "Build first: make curriculum, or dvc repro")
    return connection


def rows(connection: duckdb.DuckDBPyConnection, query: str, *values: Any) -> Rows:
    """A query's result as a list of dicts; `values` fill its question marks."""
    found = connection.execute(query, values)
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def has(connection: duckdb.DuckDBPyConnection, table: str, *columns: str) -> bool:
    """Whether the build has this table, with rows and all of these columns."""
    there = {row["name"] for row in rows(connection, "SELECT column_name AS name FROM information_schema.columns WHERE table_name = ?", table)}
    return bool(there) and set(columns) <= there and bool(rows(connection, f"SELECT 1 AS one FROM {table} LIMIT 1"))


def chance(connection: duckdb.DuckDBPyConnection) -> float:
    """Share of the core questions that guessing gets right."""
    found = rows(connection, f"SELECT avg(1 / n_options) AS chance FROM answers WHERE condition = 'noisy' AND split_part(task, '/', 1) IN {CORE}")
    return float(found[0]["chance"] or 0.0)


def heat(connection: duckdb.DuckDBPyConnection, methods: Sequence[str]) -> Rows:
    """Accuracy in noise over the core tasks by method, noise type and SNR."""
    return rows(
        connection,
        f"SELECT method, noise_type, snr_db, sum(acc * n) / sum(n) AS acc, sum(n)::BIGINT AS n FROM results "
        f"WHERE snr_db IS NOT NULL AND split_part(task, '/', 1) IN {CORE} AND list_contains(?, method) GROUP BY ALL ORDER BY ALL",
        list(methods),
    )
