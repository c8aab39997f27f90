"""Which rows of a curriculum a model has not heard, and the examples of a run that mixes them with old ones.

A row is a question asked of a mixture, with the responses it is learnt from. A mixture's id is the hash of its recipe, so a changed
recording, SNR or room makes another mixture and with it new rows.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from tasks.common.seeds import rng_of
from tasks.common.tables import SOUNDS, checked
from tasks.training.data import Row
from tasks.training.schedules import in_turn

LEARNT = "mixture_id, item_id, prompt, answer, reference_token_ids, pseudo_gt_token_ids"
Pair = tuple[str, str]


def not_in(rows: Sequence[Path], others: Sequence[Path]) -> set[Pair]:
    """(mixture_id, item_id) of every row of some curriculum files that no row of the others equals in what is learnt from it."""
    if not rows:
        return set()
    query = f"SELECT {LEARNT} FROM read_parquet($rows)"
    if others:
        query += f" EXCEPT SELECT {LEARNT} FROM read_parquet($others)"
    files = {"rows": checked(rows, SOUNDS)} | ({"others": checked(others, SOUNDS)} if others else {})
    return set(duckdb.connect().execute(f"SELECT mixture_id, item_id FROM ({query})", files).fetchall())


def split(rows: Sequence[Row], new: set[Pair]) -> tuple[list[Row], list[Row]]:
    """New rows and old ones, each in the order given."""
    parted: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        parted[(row["mixture_id"], row["item_id"]) not in new].append(row)
    return parted


def blend(new: Sequence[Row], old: Sequence[Row], replay_share: float, examples: int, seed: int) -> list[Row]:
    """As many rows as a run has examples, `replay_share` of them old; of either kind every row once before any comes again.

    A run that draws each of them once so hears exactly that share. Without old rows all are new.
    """
    replayed = round(replay_share * examples) if old else 0
    chosen: list[Row] = []
    for kind, rows, count in (("new", new, examples - replayed), ("old", old, replayed)):
        if count:
            chosen += [rows[number] for number in in_turn(range(len(rows)), (1, count), "retrain", kind, seed).ravel().tolist()]
    return chosen


def sampled(rows: Sequence[Row], limit: int, seed: str) -> list[Row]:
    """At most `limit` rows, a random sample that hangs on the rows and `seed` alone, in the order given."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[number] for number in sorted(rng_of("retrain", seed).permutation(len(rows))[:limit].tolist())]
