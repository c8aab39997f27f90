"""One row of a benchmark, and the table they make."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measurement of ours, beside a peer's where there is one; `ratio` is ours over the peer's, above 1 is better.

    `ours` and `peer` are in `unit`; where less is better (seconds, bytes) the ratio is peer over ours. `note` says on what it was measured.
    """

    name: str
    unit: str
    ours: float
    peer_name: str | None = None
    peer: float | None = None
    ratio: float | None = None
    note: str = ""

    def json(self) -> dict[str, Any]:
        """As in reports/bench.json."""
        return asdict(self)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    lines = [[row.name, row.unit, number(row.ours), row.peer_name or "", number(row.peer), number(row.ratio), row.note] for row in rows]
    head = ["measurement", "unit", "ours", "peer", "peer's", "ratio", "on"]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])
