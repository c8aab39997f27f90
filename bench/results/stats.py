"""Estimates with intervals: shares of questions over several seeds, resampled by clip and by seed together.

An estimate is an array: the value first, then one value for each of `RESAMPLES` resamples. All estimates of one world share the draws of
clips and seeds, so differences and quotients of estimates are paired, and plain arithmetic on the arrays keeps their intervals.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.common.seeds import rng_of

RESAMPLES = 2000
Estimate = NDArray[np.float64]
Value = Callable[[dict[str, NDArray[np.object_]]], NDArray[np.float64]]
"""From the columns of some answers to a number for each: 1 or 0, or nan where the question does not count."""


def columns(table: pa.Table) -> dict[str, NDArray[np.object_]]:
    """A table's columns as arrays."""
    return {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}


def right(kind: str, where: Callable[[dict[str, NDArray[np.object_]]], NDArray[np.bool_]] | None = None) -> Value:
    """Whether an answer of that kind is right; only the questions for which `where` holds count."""

    def value(table: dict[str, NDArray[np.object_]]) -> NDArray[np.float64]:
        counts = table["kind"] == kind
        if where is not None:
            counts = counts & where(table)
        return np.where(counts, table["right"].astype(float), np.nan)

    return value


def share(tables: Sequence[pa.Table], value: Value) -> Estimate:
    """Mean of `value` over questions and seeds; (1 + RESAMPLES,). Clips and seeds are drawn with replacement, alike for all estimates."""
    read = [columns(table) for table in tables]
    clips = sorted(set(read[0]["clip_id"]))
    places = {clip: place for place, clip in enumerate(clips)}
    sums, counts = np.zeros((len(read), len(clips))), np.zeros((len(read), len(clips)))
    for seed, table in enumerate(read):
        values, at = value(table), np.array([places[clip] for clip in table["clip_id"]])
        known = ~np.isnan(values)
        np.add.at(sums[seed], at[known], values[known])
        np.add.at(counts[seed], at[known], 1.0)
    clip_draws = _draws(len(clips), "clips", clips)
    seed_draws = _draws(len(read), "seeds")
    total = ((seed_draws @ sums) * clip_draws).sum(1)
    of = ((seed_draws @ counts) * clip_draws).sum(1)
    mean: Estimate = np.divide(total, of, out=np.full_like(total, np.nan), where=of > 0)
    return mean


def _draws(count: int, *seed: object) -> NDArray[np.float64]:
    """How often each of `count` things is in each resample; the first row is once each."""
    drawn = rng_of("resamples", *seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count)), drawn])


def agreement(tables: Sequence[pa.Table], others: Sequence[pa.Table], kind: str, other_kind: str, both_parse: bool) -> Estimate:
    """Share of questions for which the choice of `tables` at `kind` is that of `others` at `other_kind`, over those where the latter names an option.

    Where `tables` names none, that disagrees; with `both_parse` such a pair does not count. `noisy` and `gsr` of the EchoDistill paper.
    """
    joined = []
    for table, other in zip(tables, others, strict=True):
        ours, theirs = columns(table), columns(other)
        keys = zip(theirs["mixture_id"], theirs["item_id"], theirs["chosen"], theirs["kind"], strict=True)
        choice = {(mixture, item): chosen for mixture, item, chosen, put in keys if put == other_kind}
        paired = np.array([choice.get(key) for key in zip(ours["mixture_id"], ours["item_id"], strict=True)], dtype=object)
        named = np.array([one is not None for one in paired])
        if both_parse:
            named &= np.array([one is not None for one in ours["chosen"]])
        agrees = np.where((ours["kind"] == kind) & named, (ours["chosen"] == paired).astype(float), np.nan)
        joined.append(table.append_column("agrees", pa.array(agrees)))
    return share(joined, lambda table: table["agrees"].astype(float))


def noisy(tables: Sequence[pa.Table], base: Sequence[pa.Table]) -> Estimate:
    """Agreement of a method's noisy answer with the un-adapted model's clean answer."""
    return agreement(tables, base, "noisy", "clean", both_parse=False)


def gsr(tables: Sequence[pa.Table]) -> Estimate:
    """Agreement of a method's own noisy and clean answers, over pairs where both parse."""
    return agreement(tables, tables, "noisy", "clean", both_parse=True)


def points(estimate: Estimate, sign: bool = False) -> str:
    """`83.1 (80.2 to 85.9)`: percentage points with the 95 % interval."""
    low, high = np.nanpercentile(estimate[1:], [2.5, 97.5])
    form = "{:+.1f}" if sign else "{:.1f}"
    return f"{form.format(100 * estimate[0])} ({form.format(100 * low)} to {form.format(100 * high)})"
