"""Splits by content: every recording trains, validates or tests, by the values of a field, never by the order of files."""

import difflib
from collections.abc import Sequence
from typing import Any

from tasks.catalog.params import CATALOGS, Entry, Split, SplitName
from tasks.common.errors import UserError
from tasks.common.seeds import content_id


def block(rank: int, count: int, validation: float, test: float) -> SplitName:
    """Split of the `rank`-th of `count` things in a row: training, then validation, then test.

    Three or more things leave none of the splits with a positive share empty.
    """
    tests = max(1, round(test * count)) if test > 0 and count >= 2 else 0
    validations = max(1, round(validation * count)) if validation > 0 and count >= 3 else 0
    trains = max(1, count - tests - validations)
    return "train" if rank < trains else "validation" if rank < count - tests else "test"


def assign(entry: Entry, rows: list[dict[str, Any]], holdout: Sequence[str] | None) -> None:
    """Set `split` on the rows of one entry; `holdout` replaces the entry's own test values.

    Raises UserError where a row lacks the field, or a listed value is nowhere in the corpus.
    """
    rule = entry.split
    if holdout is not None:
        validation = [value for value in rule.validation if value not in holdout] if isinstance(rule.validation, list) else rule.validation
        rule = rule.model_copy(update={"test": list(holdout), "validation": validation})
    if rule.field == "position":
        assert isinstance(rule.validation, float) and isinstance(rule.test, float)
        for row in rows:
            rank, count = row["place"]
            row["split"] = block(rank, count, rule.validation, rule.test)
        return
    tests = _pick(entry, rows, rule.field, rule.test)
    for row in rows:
        row["split"] = "test" if _value(entry, row, rule.field) in tests else "train"
    left = [row for row in rows if row["split"] == "train"]
    field = rule.validation_field or rule.field
    validations = _pick(entry, left, field, _share_of_rest(rule, rows, left, field))
    for row in left:
        row["split"] = "validation" if _value(entry, row, field) in validations else "train"


def _share_of_rest(rule: Split, rows: list[dict[str, Any]], left: list[dict[str, Any]], field: str) -> list[str] | float:
    """A share is meant of all values; what the test took of the same field is gone."""
    if isinstance(rule.validation, list) or field != rule.field:
        return rule.validation
    return rule.validation * len({row["fields"].get(field) for row in rows}) / max(1, len({row["fields"].get(field) for row in left}))


def _pick(entry: Entry, rows: list[dict[str, Any]], field: str, wanted: list[str] | float) -> set[str]:
    values = sorted({_value(entry, row, field) for row in rows})
    if isinstance(wanted, list):
        for missing in sorted(set(wanted).difference(values)):
            near = difflib.get_close_matches(missing, values, n=1)
            todo = f"Did you mean '{near[0]}'?" if near else f"It has: {', '.join(values[:12])}"
            raise UserError(f"corpus {entry.corpus}, split", f"no usable recording has {field} '{missing}'", todo)
        return set(wanted)
    ranked = sorted(values, key=lambda value: content_id(["split", value]))
    return {value for rank, value in enumerate(ranked) if block(rank, len(ranked), 0.0, wanted) == "test"}


def _value(entry: Entry, row: dict[str, Any], field: str) -> str:
    value = row["fields"].get(field)
    if value is None:
        where = f"{CATALOGS / entry.kind / entry.corpus}.yaml, split"
        raise UserError(where, f"'{row['path']}' has no field '{field}'", f"It has: {', '.join(sorted(row['fields']))}")
    return str(value)
