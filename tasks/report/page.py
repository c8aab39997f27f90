"""The page itself: the template with everything escaped, and how figures are worded in it."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

Estimate = dict[str, Any]


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage without its sign; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference of shares in points, with its sign; a dash for None."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def interval(estimate: Estimate, signed: bool = False) -> str:
    """`[lo, hi]` of an estimate; nothing where there is no value."""
    low, high = estimate["ci95"]
    form = points if signed else percent
    return "" if low is None else f"{form(low)} to {form(high)}"


def render(**values: Any) -> str:
    """The page; charts are passed as SVG text of our own making, all else is escaped."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "points": points, "interval": interval, "svg": Markup}
    return environment.get_template("page.html.j2").render(**values)
