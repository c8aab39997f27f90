"""What the page shows, as DuckDB queries over the files of the build: plain rows, in a fixed order."""

from pathlib import Path
from typing import Any

import duckdb

from tasks.common.errors import UserError
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


def connect() -> duckdb.DuckDBPyConnection:
    """A connection with a view for every table of the build; raises UserError where one is not there yet."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for name, pattern in _SOURCES.items():
        if not any(Path().glob(pattern)):
            raise UserError(pattern, "no such file", "Build first: make curriculum, or dvc repro")
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}', hive_partitioning = false)")
    return connection


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> Rows:
    """A query's result as a list of dicts."""
    found = connection.sql(query)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def tiles(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Counts of what was built from what: `label`, `value`, `detail`."""
    one = rows(
        connection,
        """
        SELECT
          (SELECT count(*) FROM speech WHERE kind = 'utterance') AS utterances,
          (SELECT count(*) FROM speech WHERE kind = 'word') AS words,
          (SELECT coalesce(sum(duration_s), 0) / 3600 FROM speech WHERE kind = 'utterance') AS speech_h,
          (SELECT count(DISTINCT (corpus, speaker)) FROM speech) AS speakers,
          (SELECT count(DISTINCT (corpus, speaker)) FROM speech WHERE split = 'test') AS test_speakers,
          (SELECT count(*) FROM noise) AS noises,
          (SELECT count(DISTINCT noise_type) FROM noise) AS noise_types,
          (SELECT coalesce(sum(duration_s), 0) / 60 FROM noise) AS noise_min,
          (SELECT count(*) FROM rooms) AS rooms,
          (SELECT count(*) FROM rooms WHERE source = 'measured') AS measured,
          (SELECT count(*) FROM mixtures) AS mixtures,
          (SELECT count(*) FROM mixtures WHERE noise_type IS NOT NULL) AS noisy,
          (SELECT coalesce(sum(duration_s), 0) / 3600 FROM mixtures JOIN speech USING (clip_id)) AS mixture_h,
          (SELECT count(*) FROM items) AS items,
          (SELECT count(DISTINCT task) FROM items) AS tasks,
          (SELECT count(*) FROM train) AS train_rows,
          (SELECT count(*) FROM answers) AS answers
        """,
    )[0]
    words = f", composed of {one['words']:,} words" if one["words"] else ""
    return [
        {"label": "utterances", "value": f"{one['utterances']:,}", "detail": f"{one['speech_h']:.1f} h{words}"},
        {"label": "speakers", "value": f"{one['speakers']:,}", "detail": f"{one['test_speakers']} heard only in the test"},
        {"label": "noise clips", "value": f"{one['noises']:,}", "detail": f"{one['noise_types']} types, {one['noise_min']:.0f} min"},
        {"label": "rooms", "value": f"{one['rooms']:,}", "detail": f"{one['rooms'] - one['measured']} simulated, {one['measured']} recorded"},
        {"label": "mixtures", "value": f"{one['mixtures']:,}", "detail": f"{one['mixture_h']:.1f} h, {one['noisy']:,} with noise"},
        {"label": "questions", "value": f"{one['items']:,}", "detail": f"{one['tasks']} tasks"},
        {"label": "training rows", "value": f"{one['train_rows']:,}", "detail": "in the curriculum"},
        {"label": "test answers", "value": f"{one['answers']:,}", "detail": "greedy, all methods"},
    ]


def heat(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Accuracy over the core tasks by method, noise type and SNR."""
    return rows(
        connection,
        f"SELECT method, noise_type, snr_db, sum(acc * n) / sum(n) AS acc, sum(n)::BIGINT AS n FROM results "
        f"WHERE snr_db IS NOT NULL AND split_part(task, '/', 1) IN {CORE} GROUP BY ALL ORDER BY ALL",
    )


def tasks(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Accuracy in noise by task and method, with the number of answers."""
    return rows(
        connection,
        "SELECT task, method, sum(acc * n) / sum(n) AS acc, sum(n)::BIGINT AS n FROM results WHERE snr_db IS NOT NULL GROUP BY ALL ORDER BY ALL",
    )


def chance(connection: duckdb.DuckDBPyConnection) -> float:
    """Share of the core questions that guessing gets right."""
    found = rows(connection, f"SELECT avg(1 / n_options) AS chance FROM answers WHERE condition = 'noisy' AND split_part(task, '/', 1) IN {CORE}")
    return float(found[0]["chance"] or 0.0)


def snr(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Asked and measured SNR of every noisy mixture."""
    return rows(connection, "SELECT snr_db, snr_db_measured FROM mixtures WHERE snr_db IS NOT NULL ORDER BY mixture_id")


def rt60(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Asked and measured reverberation time of every room."""
    return rows(connection, "SELECT room_id, source, rt60_asked_s, rt60_s, c50_db FROM rooms ORDER BY room_id")


def curriculum(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Training rows by stage and SNR."""
    return rows(connection, "SELECT stage, snr_db, count(*) AS n FROM train WHERE snr_db IS NOT NULL GROUP BY ALL ORDER BY ALL")


def curriculum_stages(connection: duckdb.DuckDBPyConnection) -> Rows:
    """By stage: rows, mixtures, SNR range, the teacher's accuracy on clean speech and the mean difficulty."""
    return rows(
        connection,
        """
        SELECT stage, count(*) AS n, count(DISTINCT mixture_id) AS mixtures, min(snr_db) AS low, max(snr_db) AS high,
               avg(reference_correct::INT) AS teacher, avg(kl_to_clean) AS kl
        FROM train GROUP BY stage ORDER BY stage
        """,
    )


def quarantine(connection: duckdb.DuckDBPyConnection) -> Rows:
    """By reason and corpus: how many files were set aside, and one of them."""
    return rows(
        connection,
        "SELECT reason, corpus, count(*) AS n, min(path) AS example, arg_min(detail, path) AS detail FROM quarantine GROUP BY ALL ORDER BY ALL",
    )


def corpora(connection: duckdb.DuckDBPyConnection) -> Rows:
    """By kind, corpus and licence: clips and minutes."""
    return rows(
        connection,
        """
        SELECT * FROM (
          SELECT 'speech' AS kind, corpus, licence, count(*) AS clips, sum(duration_s) / 60 AS minutes,
                 count(DISTINCT speaker) || ' speakers' AS detail FROM speech GROUP BY ALL
          UNION ALL
          SELECT 'noise', corpus, licence, count(*), sum(duration_s) / 60,
                 string_agg(DISTINCT noise_type, ', ' ORDER BY noise_type) FROM noise GROUP BY ALL
          UNION ALL
          SELECT 'rooms', corpus, licence, count(*), sum(duration_s) / 60, 'measured responses' FROM measured_rooms GROUP BY ALL
        ) ORDER BY kind DESC, corpus, licence
        """,
    )
