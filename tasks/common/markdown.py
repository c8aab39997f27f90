"""Words of others in Markdown: names, licences and citations come from corpora, and are shown as the text they are."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_MARKS = re.compile(r"([\\`*\[\]|])")
_OPENERS = re.compile(r"[<&](?=[A-Za-z/!?#])")  # of a tag or an entity; "10 <= SNR" is none


def plain(value: Any) -> str:
    """A value as text on one line: no tag, link, code or cell of a table can come of it (CommonMark 2.4 and 2.5, GFM 4.10)."""
    return _MARKS.sub(r"\\\1", _OPENERS.sub(lambda found: html.escape(found[0]), " ".join(str(value).split())))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; every cell is `plain`."""
    lines = [list(map(plain, head)), ["---"] * len(head), *(map(plain, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fenced(text: str, language: str = "") -> str:
    """A block of text as it stands; the fence is longer than any inside (CommonMark 4.5)."""
    fence = "`" * max([3, *(1 + len(run) for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"
