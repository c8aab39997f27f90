"""Every figure of the evaluation, as a query over the answers.

Definitions (EchoDistill, arXiv 2605.23954, section on metrics), over the core tasks first, last, count, present and a corpus' own questions:

- `acc_clean`, `acc_noisy`: share of answers equal to the truth; an answer that names no option is wrong.
- `noisy`: share of noisy answers equal to the un-adapted model's answer to the same item on clean audio, where that parses.
- `gsr`: share of noisy answers equal to the same model's answer on clean audio, over pairs where both parse. A constant
  answer has a `gsr` of 1, so it is read beside `acc_noisy`, `first_option_rate` and the two controls.
- `acc_silence`, `acc_shuffled_audio`: accuracy with no speech and with another clip's speech.
- `first_option_rate`: share of parsed noisy answers that are the first option; options are shuffled, so `first_option_truth`
  (the share of questions whose right answer stands first) is what a model without a preference shows.
- `parse_rate`: share of noisy answers that name exactly one option.
- `acc_conflict`, `acc_background`: accuracy in noise on questions that carry a wrong transcript, and on naming the noise.
- `gain_acc_noisy`: `acc_noisy` less that of the un-adapted model on the same questions.

Intervals are 95 % percentile bootstrap intervals over clips: all answers about one clip stay together, and one draw of clips
serves all methods, so that the interval of a gain is paired. With one training seed they say nothing about retraining.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.common.seeds import rng_of
from tasks.evaluate.params import BASE, CORE

Estimate = dict[str, Any]
Float = NDArray[np.float64]

# One row an answer, with what the same item got on clean audio from this model and from the un-adapted one.
_PAIRED = f"""
CREATE VIEW paired AS
SELECT a.*, split_part(a.task, '/', 1) IN {CORE} AS core,
       CASE WHEN base.answer IS NOT NULL THEN coalesce(a.answer = base.answer, false) END AS agrees_base,
       CASE WHEN a.answer IS NOT NULL AND own.answer IS NOT NULL THEN a.answer = own.answer END AS agrees_own
FROM answers a
LEFT JOIN answers base ON base.method = '{BASE}' AND base.condition = 'clean' AND base.item_id = a.item_id
LEFT JOIN answers own ON own.method = a.method AND own.condition = 'clean' AND own.item_id = a.item_id
"""

# metric: (value of one answer, which answers count)
_METRICS = {
    "acc_clean": ("correct", "condition = 'clean' AND core"),
    "acc_noisy": ("correct", "condition = 'noisy' AND core"),
    "noisy": ("agrees_base", "condition = 'noisy' AND core"),
    "gsr": ("agrees_own", "condition = 'noisy' AND core"),
    "acc_silence": ("correct", "condition = 'silence'"),
    "acc_shuffled_audio": ("correct", "condition = 'shuffled'"),
    "first_option_rate": ("position = 0", "condition = 'noisy' AND core"),
    "first_option_truth": ("target_position = 0", "condition = 'noisy' AND core"),
    "parse_rate": ("answer IS NOT NULL", "condition = 'noisy' AND core"),
    "acc_conflict": ("correct", "condition = 'noisy' AND task = 'conflict'"),
    "acc_background": ("correct", "condition = 'noisy' AND task = 'background'"),
}

# The clean condition has no agreement: there the answer would be compared with itself.
_RESULTS = """
SELECT method, seed, coalesce(noise_type, 'clean') AS noise_type, snr_db, task, count(*)::BIGINT AS n,
       avg(correct::INT) AS acc,
       avg(agrees_base::INT) FILTER (condition = 'noisy') AS noisy,
       avg(agrees_own::INT) FILTER (condition = 'noisy') AS gsr
FROM paired WHERE condition IN ('clean', 'noisy')
GROUP BY method, seed, condition, noise_type, snr_db, task
ORDER BY method, seed, condition, noise_type, snr_db, task
"""


def connect(answers: pa.Table) -> duckdb.DuckDBPyConnection:
    """A connection with the tables `answers` and `paired`."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")  # the order of summation, and with it the last bit, stays put
    connection.register("answers", answers)
    connection.execute(_PAIRED)
    return connection


def results(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The results table: a row for every method, seed, noise type, SNR and task."""
    return connection.sql(_RESULTS).to_arrow_table()


class Bootstrap:
    """Resamples of the clips, drawn once: `weights` is (resamples, clips), how often a resample holds a clip."""

    def __init__(self, clip_ids: Sequence[str], resamples: int) -> None:
        self.index = {clip_id: place for place, clip_id in enumerate(sorted(clip_ids))}
        clips = len(self.index)
        self.weights: Float = rng_of("evaluate", "bootstrap", clips).multinomial(clips, [1 / clips] * clips, resamples).astype(np.float64)

    def shares(self, sums: Sequence[tuple[str, float, float]]) -> tuple[float | None, Float]:
        """From (clip, sum, count) the share over all clips, and (resamples,) shares of the resamples; None if nothing counts."""
        total, count = np.zeros(len(self.index)), np.zeros(len(self.index))
        for clip_id, part, size in sums:
            total[self.index[clip_id]] += part
            count[self.index[clip_id]] += size
        if not count.sum():
            return None, np.full(len(self.weights), np.nan)
        drawn = self.weights @ count
        return float(total.sum() / count.sum()), np.divide(self.weights @ total, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)


def estimate(value: float | None, resampled: Float) -> Estimate:
    """`{"value": x, "ci95": [lo, hi]}`, rounded to four decimals; nulls where there is nothing to measure."""
    if value is None:
        return {"value": None, "ci95": [None, None]}
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return {"value": round(value, 4), "ci95": [round(float(low), 4), round(float(high), 4)]}


def bootstrap_of(connection: duckdb.DuckDBPyConnection, resamples: int) -> Bootstrap:
    """Resamples over every clip that was asked about."""
    return Bootstrap([row[0] for row in connection.sql("SELECT DISTINCT clip_id FROM answers").fetchall()], resamples)


def _sums(connection: duckdb.DuckDBPyConnection, value: str, where: str, by: str) -> dict[tuple[Any, ...], list[tuple[str, float, float]]]:
    """Per group of the columns `by`: (clip, sum, count) of a value that answers may lack."""
    rows = connection.sql(
        f"SELECT {by}, clip_id, coalesce(sum(({value})::INT), 0), count({value}) FROM paired WHERE {where} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    groups: dict[tuple[Any, ...], list[tuple[str, float, float]]] = {}
    for *group, clip_id, total, count in rows:
        groups.setdefault(tuple(group), []).append((clip_id, float(total), float(count)))
    return groups


def method_metrics(connection: duckdb.DuckDBPyConnection, bootstrap: Bootstrap, methods: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """`{method: {metric: {"value", "ci95"}}}`."""
    metrics: dict[str, dict[str, Estimate]] = {method: {} for method in methods}
    for name, (value, where) in _METRICS.items():
        groups = _sums(connection, value, where, "method")
        shares = {method: bootstrap.shares(groups.get((method,), [])) for method in methods}
        for method in methods:
            metrics[method][name] = estimate(*shares[method])
        if name == "acc_noisy":
            metrics_gain(metrics, shares)
    return metrics


def metrics_gain(metrics: dict[str, dict[str, Estimate]], shares: Mapping[str, tuple[float | None, Float]]) -> None:
    """Add `gain_acc_noisy` to every method but the base."""
    base, base_resampled = shares[BASE]
    for method, (value, resampled) in shares.items():
        if method != BASE and value is not None and base is not None:
            metrics[method]["gain_acc_noisy"] = estimate(value - base, resampled - base_resampled)


def accuracy_over_snr(connection: duckdb.DuckDBPyConnection, bootstrap: Bootstrap) -> list[tuple[Any, ...]]:
    """Rows (method, snr_db, acc, lo, hi) over the core tasks."""
    groups = _sums(connection, "correct", "condition = 'noisy' AND core", "method, snr_db")
    rows = []
    for group, sums in groups.items():
        found = estimate(*bootstrap.shares(sums))
        rows.append((*group, found["value"], *found["ci95"]))
    return rows


def accuracy_by_noise(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Rows (method, noise_type, acc) over the core tasks."""
    return connection.sql(
        "SELECT method, noise_type, round(avg(correct::INT), 4) FROM paired WHERE condition = 'noisy' AND core GROUP BY ALL ORDER BY ALL"
    ).fetchall()
