"""Figures of a benchmark, each a DuckDB query over its answers with an interval over its items.

A cell is `clean`, `noisy` (all levels together) or one SNR. `acc` is the published score, over the responses that its rule counts; `acc_of_all` takes
the others for wrong. `acc_parsed` is our own reading of a response (`tasks.items.answers`), `empty` the share of responses without one.
`first_option_rate` beside `first_option_truth` shows a liking for the first option.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from tasks.common.markdown import plain
from tasks.evaluate.bootstrap import Bootstrap, Samples, Sum, estimate
from tasks.evaluate.params import BASE

ANSWERS = pa.schema(
    [
        ("method", pa.string()),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("item_id", "variant", "order", "condition", "clip_id", "noise_id", "noise_type")),
        ("snr_db", pa.float64()),
        *((name, pa.string()) for name in ("prompt", "text", "prediction", "published", "answer", "target")),
        ("scored", pa.bool_()),  # by the published rule; null: it does not count the response
        ("correct", pa.bool_()),  # by our own reading; null: there are no options
        *((name, pa.int64()) for name in ("position", "target_position", "n_options")),
        ("groups", pa.map_(pa.string(), pa.string())),
        ("key", pa.string()),
    ]
)
# figure: value of one answer
FIGURES = {
    "acc": "scored",
    "acc_of_all": "coalesce(scored, false)",
    "acc_parsed": "correct",
    "empty": "prediction = ''",
    "first_option_rate": "position = 0",
    "first_option_truth": "target_position = 0",
}
_CELLS = """
CREATE VIEW cells AS
SELECT *, unnest(CASE WHEN snr_db IS NULL THEN ['clean'] ELSE ['noisy', printf('%g', snr_db)] END) AS cell FROM answers
"""
# Whether an answer that was right without a description is wrong with one, and the other way about.
_SWAYED = """
CREATE VIEW swayed AS
SELECT t.*, n.scored AS neutral FROM cells t
JOIN cells n USING (method, seed, item_id, "order", cell, clip_id) WHERE n.variant = 'neutral' AND t.variant != 'neutral'
     AND n.snr_db IS NOT DISTINCT FROM t.snr_db AND cell IN ('clean', 'noisy')
"""
_INFLUENCE = {"faithful": "scored AND NOT neutral", "adversarial": "neutral AND NOT scored", "irrelevant": "neutral != scored"}
Metrics = dict[str, Any]


class Figures:
    """Queries over the answers of one benchmark; `resamples` of its items stand behind every interval."""

    def __init__(self, answers: pa.Table, resamples: int) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET threads = 1")  # the order of summation, and with it the last bit, stays put
        self.connection.register("answers", answers)
        self.connection.execute(_CELLS)
        self.connection.execute(_SWAYED)
        self.bootstrap = Bootstrap({row[0] for row in self.connection.sql("SELECT DISTINCT item_id FROM answers").fetchall()}, resamples)

    def _sums(self, value: str, by: str, source: str = "cells", where: str = "true") -> dict[tuple[Any, ...], list[Sum]]:
        query = f"""SELECT {by}, seed, item_id, coalesce(sum(({value})::INT), 0)::DOUBLE, count({value})::DOUBLE
                    FROM {source} WHERE {where} GROUP BY ALL ORDER BY ALL"""
        groups: dict[tuple[Any, ...], list[Sum]] = {}
        for *group, seed, item_id, total, count in self.connection.sql(query).fetchall():
            groups.setdefault(tuple(group), []).append((seed, item_id, total, count))
        return groups

    def _shares(self, value: str, by: str, source: str = "cells", where: str = "true") -> dict[tuple[Any, ...], Samples]:
        """Estimates in the making by group, of which the method is the first part."""
        return {group: self.bootstrap.share(group[0], sums) for group, sums in self._sums(value, by, source, where).items()}

    def methods(self, names: Sequence[str]) -> Metrics:
        """`{method: {order: {cell: {figure: estimate, n: int}}}}`, with `gain` over the base model on the same items for every other method.

        `names` are the methods in the order to show them.
        """
        found: Metrics = {name: {} for name in names}
        counts = """SELECT method, "order", cell, count(*) FROM cells GROUP BY method, "order", cell
                    ORDER BY method, "order", cell != 'clean', cell != 'noisy', min(snr_db)"""
        for method, order, cell, count in self.connection.sql(counts).fetchall():
            found[method].setdefault(order, {})[cell] = {"n": count}
        for name, value in FIGURES.items():
            shares = self._shares(value, 'method, "order", cell')
            for (method, order, cell), samples in shares.items():
                found[method][order][cell][name] = estimate(samples)
                base = shares.get((BASE, order, cell))
                if name == "acc" and method != BASE and base is not None:
                    found[method][order][cell]["gain"] = estimate(samples - base)
        return found

    def groups(self) -> Metrics:
        """`{field: {value: {method: {clean|noisy: estimate}}}}` of the published score, options in the published order."""
        opened = "(SELECT *, unnest(map_entries(groups)) AS entry FROM cells)"
        where = "\"order\" = 'official' AND cell IN ('clean', 'noisy')"
        found: Metrics = {}
        for (method, field, value, cell), samples in self._shares("scored", "method, entry.key, entry.value, cell", opened, where).items():
            found.setdefault(field, {}).setdefault(value, {}).setdefault(method, {})[cell] = estimate(samples)
        return found

    def texts(self, names: Sequence[str]) -> Metrics:
        """`{method: {clean|noisy: {shift, influence}}}`: what a description beside the sound does (MCR-BENCH); empty where there are none.

        `shift`: of the items that are right without one, the share that an adversarial one turns wrong (CAAD, arXiv 2606.23052).
        `influence`: the share of all items that a faithful one turns right, an adversarial one wrong, and an irrelevant one to either (the text
        influence rate of arXiv 2508.15407, which publishes no script, as third parties compute it).
        """
        shift = self._shares("NOT scored", "method, cell", "swayed", "variant = 'adversarial' AND neutral")
        found: Metrics = {}
        for variant, value in _INFLUENCE.items():
            for (method, cell), samples in self._shares(value, "method, cell", "swayed", f"variant = '{variant}'").items():
                nothing: Metrics = {"shift": estimate(shift[method, cell]) if (method, cell) in shift else None, "influence": {}}
                found.setdefault(method, {}).setdefault(cell, nothing)["influence"][variant] = estimate(samples)
        return {name: found[name] for name in names if name in found}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, which reads as a table in a terminal too."""
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("-" * width for width in widths), *lines[1:]])


def percent(found: Mapping[str, Any] | None) -> str:
    """`61.2 (58.1 to 64.3)`, without its interval where there is none (one item), or a dash where nothing counts."""
    if found is None or found["value"] is None:
        return "-"
    low, high = found["ci95"]
    return f"{100 * found['value']:.1f}" + ("" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})")
