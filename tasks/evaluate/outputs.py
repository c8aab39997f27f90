"""The files of the stage: the schema of the answers, and what is computed from them."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.tables import read_rows, write_parquet, write_text
from tasks.evaluate import metrics
from tasks.evaluate.difficulty import difficulty_metrics
from tasks.evaluate.params import EvaluateParams

REPORTS = Path("reports")
ANSWERS = pa.schema(
    [
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("condition", pa.string()),
        ("mixture_id", pa.string()),
        ("item_id", pa.string()),
        ("clip_id", pa.string()),
        ("noise_type", pa.string()),
        ("snr_db", pa.float64()),
        ("task", pa.string()),
        ("text", pa.string()),
        ("answer", pa.string()),
        ("target", pa.string()),
        ("correct", pa.bool_()),
        ("position", pa.int64()),
        ("target_position", pa.int64()),
        ("n_options", pa.int64()),
        ("key", pa.string()),
    ]
)


def write_outputs(answers: pa.Table, params: EvaluateParams, counts: dict[str, int]) -> None:
    """Write answers.parquet and, from it and data/difficulty.parquet, results.parquet, metrics.json and the plots."""
    write_parquet(REPORTS / "answers.parquet", answers, row_group=65536)
    connection = metrics.connect(answers)
    bootstrap = metrics.bootstrap_of(connection, params.bootstrap)
    write_parquet(REPORTS / "results.parquet", metrics.results(connection))
    difficulty = difficulty_metrics(read_rows(Path("data/difficulty.parquet"), filters=[("split", "=", "validation")]))
    summary = metrics.method_metrics(connection, bootstrap, params.methods) | {"difficulty": difficulty, "counts": counts}
    write_text(REPORTS / "metrics.json", json.dumps(summary, indent=1) + "\n")
    _write_csv("accuracy_over_snr", ("method", "snr_db", "acc", "lo", "hi"), metrics.accuracy_over_snr(connection, bootstrap))
    _write_csv("accuracy_by_noise", ("method", "noise_type", "acc"), metrics.accuracy_by_noise(connection))


def _write_csv(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(REPORTS / "plots" / f"{name}.csv", text.getvalue())
