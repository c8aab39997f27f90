"""Licences as data: whether a build may use a clip, and the table of corpora that says what it owes to whom."""

import logging
import re
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from tasks.catalog.params import Entry
from tasks.common.tables import write_parquet

UNITS = ("files", "hours", "clips")
CORPORA = pa.schema(
    [
        *((name, pa.string()) for name in ("corpus", "kind", "source", "citation", "fetch")),
        ("licences", pa.list_(pa.string())),
        *((f"{place}{unit}", pa.float64() if unit == "hours" else pa.int64()) for place in ("expected_", "") for unit in UNITS),
    ]
)
log = logging.getLogger("dinproof")


def each_of(licence: str) -> list[str]:
    """The licences of an SPDX expression `A AND B`, each once, in order."""
    return sorted(set(licence.split(" AND ")))


def together(licences: Collection[str]) -> str:
    """The SPDX expression of material that is under all of these licences."""
    return " AND ".join(sorted({part for licence in licences for part in each_of(licence)}))


def allowed(licence: str, allow: Collection[str]) -> bool:
    """Whether all of an SPDX expression is allowed, of `A OR B` one side. In an expression with parentheses every licence has to be."""
    sides = [licence] if "(" in licence else licence.split(" OR ")
    return any(set(re.split(r"\s+(?:AND|OR)\s+", side.replace("(", "").replace(")", ""))) <= set(allow) for side in sides)


def corpus_row(entry: Entry, files: int, clips: int, hours: float, licences: Collection[str]) -> dict[str, object]:
    """The row of a corpus; says in the log where it differs from what its publisher announces."""
    expected = {unit: getattr(entry.expected, unit, None) for unit in UNITS}
    found = {"files": files, "hours": round(hours, 4), "clips": clips}
    for unit, announced in expected.items():
        if announced is not None and abs(found[unit] - announced) > 0.01 * announced * (unit == "hours"):
            log.info("  %s: %g %s here, %g as published; a subset is fine", entry.corpus, found[unit], unit, announced)
    return {
        "corpus": entry.corpus,
        "kind": entry.kind,
        "source": entry.source,
        "citation": entry.citation,
        "fetch": entry.fetch,
        "licences": sorted(licences),
        **{f"expected_{unit}": value for unit, value in expected.items()},
        **found,
    }


def write_corpora(path: Path, rows: list[dict[str, object]]) -> None:
    """Write the table of corpora, by kind and name."""
    write_parquet(path, sorted(rows, key=lambda row: (str(row["kind"]), str(row["corpus"]))), CORPORA)
