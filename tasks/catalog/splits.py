"""Splits by content: every recording trains, validates or tests, by the values of a field, never by the order or number of files.

A share is drawn by each value's own hash against a threshold, so a value that is added or removed moves no other.
"""

import difflib
import functools
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.catalog.found import Fields
from tasks.catalog.params import CATALOGS, SPLITS, Entry, Split, SplitName
from tasks.common.errors import UserError
from tasks.common.seeds import content_id

Keys = NDArray[np.uint64]
Codes = NDArray[np.int8]  # places in SPLITS
TRAIN, VALIDATION, TEST = range(3)


def block(rank: int, count: int, validation: float, test: float) -> SplitName:
    """Split of the `rank`-th of `count` stretches of a recording: training, then validation, then test.

    Three or more leave none of the splits with a positive share empty.
    """
    tests = max(1, round(test * count)) if test > 0 and count >= 2 else 0
    validations = max(1, round(validation * count)) if validation > 0 and count >= 3 else 0
    trains = max(1, count - tests - validations)
    return "train" if rank < trains else "validation" if rank < count - tests else "test"


@functools.lru_cache(4096)
def key_of(value: str) -> int:
    """64 bits that stand for a value, and draw its split."""
    return int(content_id(["split", value]), 16)


def draw(keys: Keys, validation: float, test: float) -> Codes:
    """The split of each of the (n,) distinct keys: below `test` of the range of 64 bits it tests, in the next `validation` of it it validates.

    One value trains, two also test, three or more leave none of the splits with a positive share empty: the value nearest by hash moves in.
    """
    place = keys.astype(np.float64) / 2.0**64
    codes = np.where(place < test, TEST, np.where(place < test + validation, VALIDATION, TRAIN)).astype(np.int8)
    ranges = {TRAIN: (test + validation, 1.0), TEST: (0.0, test), VALIDATION: (test, test + validation)}
    wanted = [code for code, (low, high) in ranges.items() if high > low][: len(keys)]
    for code in wanted:
        if (codes == code).any():
            continue
        counts = np.bincount(codes, minlength=3)
        spare = (counts[codes] > 1) | ~np.isin(codes, wanted)
        low, high = ranges[code]
        distance = np.where(spare, np.maximum(low - place, place - high), np.inf)
        codes[np.lexsort((keys, distance))[0]] = code
    return codes


class Marks:
    """What the splits of an entry's recordings hang on, 16 bytes a recording: the hashes of two fields, or the split itself by position."""

    def __init__(self, entry: Entry, holdout: Collection[str] | None) -> None:
        self.entry, self.rule = entry, with_holdout(entry.split, holdout)

    def of(self, fields: Fields, place: tuple[int, int], path: str) -> tuple[int, int]:
        """The marks of one recording; raises UserError where it lacks the field."""
        rule = self.rule
        if rule.field == "position":
            assert isinstance(rule.validation, float) and isinstance(rule.test, float)
            return SPLITS.index(block(*place, rule.validation, rule.test)), 0
        first = key_of(self._value(fields, rule.field, path))
        return first, first if rule.validation_field is None else key_of(self._value(fields, rule.validation_field, path))

    def _value(self, fields: Fields, field: str, path: str) -> str:
        value = fields.get(field)
        if value is None:
            where = f"{CATALOGS / self.entry.kind / self.entry.corpus}.yaml, split"
            raise UserError(where, f"'{path}' has no field '{field}'", f"It has: {', '.join(sorted(fields))}")
        return str(value)

    def assign(self, first: Keys, second: Keys, known: Callable[[str], Collection[str]]) -> Codes:
        """The split of every recording from its two marks, (n,) each; `known` gives the values of a field, for the message of an error.

        Raises UserError where a listed value is nowhere in the corpus.
        """
        rule = self.rule
        if rule.field == "position":
            return first.astype(np.int8)
        other = rule.validation_field or rule.field
        codes = np.full(len(first), TRAIN, np.int8)
        tests = self._listed(first, rule.field, rule.test, known)
        codes[tests] = TEST
        validations = ~tests & self._listed(np.where(tests, np.uint64(0), second), other, rule.validation, known)
        codes[validations] = VALIDATION
        free = ~tests & ~validations
        test = rule.test if isinstance(rule.test, float) else 0.0
        validation = rule.validation if isinstance(rule.validation, float) else 0.0
        if rule.validation_field is None:
            codes[free] = _drawn(first[free], validation, test)
        else:
            codes[free] = _drawn(first[free], 0.0, test)
            rest = free & (codes == TRAIN)
            codes[rest] = _drawn(second[rest], validation, 0.0)
        return codes

    def _listed(self, keys: Keys, field: str, wanted: list[str] | float, known: Callable[[str], Collection[str]]) -> NDArray[np.bool_]:
        if isinstance(wanted, float):
            return np.zeros(len(keys), bool)
        listed = {value: np.uint64(key_of(value)) for value in wanted}
        for missing in sorted(value for value, key in listed.items() if not (keys == key).any()):
            values = sorted(known(field))
            near = difflib.get_close_matches(missing, values, n=1)
            todo = f"Did you mean '{near[0]}'?" if near else f"It has: {', '.join(values[:12])}"
            raise UserError(f"corpus {self.entry.corpus}, split", f"no usable recording has {field} '{missing}'", todo)
        return np.isin(keys, np.array(list(listed.values()), np.uint64))


def with_holdout(rule: Split, holdout: Collection[str] | None) -> Split:
    """The rule with other values kept for test, which then do not validate."""
    if holdout is None:
        return rule
    validation = [value for value in rule.validation if value not in holdout] if isinstance(rule.validation, list) else rule.validation
    return rule.model_copy(update={"test": list(holdout), "validation": validation})


def _drawn(keys: Keys, validation: float, test: float) -> Codes:
    distinct, inverse = np.unique(keys, return_inverse=True)
    drawn: Codes = draw(distinct, validation, test)[inverse]
    return drawn


def names(codes: Codes) -> Sequence[SplitName]:
    """Codes as names."""
    return [SPLITS[code] for code in codes.tolist()]
