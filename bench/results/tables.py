"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table with a line for each of `lines`."""
    rows = [list(head), ["---"] * len(head), *(list(map(str, line)) for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
