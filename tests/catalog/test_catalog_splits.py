"""Splits drawn by the values' own hashes: a value that comes or goes moves no other, and none of the splits is left empty."""

from collections import Counter

import numpy as np
import pytest
from catalog_project import DIGITS, Project, as_wav, sound
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.catalog.splits import TEST, TRAIN, VALIDATION, draw, key_of
from tasks.common.errors import UserError

KEYS = st.lists(st.text(max_size=4).map(key_of), min_size=1, max_size=40, unique=True)
SHARE = st.sampled_from([0.0, 0.05, 0.2, 0.45])


def drawn(keys: list[int], validation: float, test: float) -> dict[int, int]:
    return dict(zip(keys, draw(np.array(keys, np.uint64), validation, test).tolist(), strict=True))


def natural(key: int, validation: float, test: float) -> int:
    """Where a value's own hash puts it."""
    return TEST if key < test * 2**64 else VALIDATION if key < (test + validation) * 2**64 else TRAIN


def wanted(count: int, validation: float, test: float) -> set[int]:
    return set([TRAIN, *([TEST] if test else []), *([VALIDATION] if validation else [])][:count])


@settings(deadline=None)
@given(keys=KEYS, new=st.text(min_size=5).map(key_of), validation=SHARE, test=SHARE)
def test_a_value_that_is_added_moves_no_other_unless_a_split_would_have_been_empty(keys: list[int], new: int, validation: float, test: float) -> None:
    assume(new not in keys)
    own = {natural(key, validation, test) for key in keys}
    assume(own >= wanted(len(keys), validation, test) and len(keys) >= 3)
    before, after = drawn(keys, validation, test), drawn([*keys, new], validation, test)
    assert before == {key: natural(key, validation, test) for key in keys}
    assert {key: after[key] for key in keys} == before


@settings(deadline=None)
@given(keys=KEYS, validation=SHARE, test=SHARE)
def test_no_split_with_a_share_is_empty_and_as_few_as_possible_move(keys: list[int], validation: float, test: float) -> None:
    splits = drawn(keys, validation, test)
    needed = wanted(len(keys), validation, test)
    assert set(splits.values()) >= needed
    own = {key: natural(key, validation, test) for key in keys}
    assert sum(splits[key] != own[key] for key in keys) <= len(needed - set(own.values()))


@settings(deadline=None, max_examples=30)
@given(keys=KEYS, validation=SHARE, test=SHARE, seed=st.integers(0, 9))
def test_order_does_not_matter(keys: list[int], validation: float, test: float, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(np.array(keys, np.uint64)).tolist()
    assert drawn(shuffled, validation, test) == drawn(keys, validation, test)


def test_shares_are_met_in_the_long_run() -> None:
    splits = Counter(drawn([key_of(str(number)) for number in range(20_000)], 0.1, 0.2).values())
    assert splits[TEST] == pytest.approx(4000, abs=200) and splits[VALIDATION] == pytest.approx(2000, abs=150)


def talks(project: Project, speakers: list[str], **split: object) -> dict[str, str]:
    """The split of every speaker."""
    project.entry(DIGITS, compose=None, unit="utterance", split={"field": "speaker", "test": 0.3, "validation": 0.2} | split)
    for speaker in speakers:
        if not (project.corpora / f"digits/1_{speaker}_1.wav").exists():
            for take in range(3):
                project.write(f"digits/1_{speaker}_{take}.wav", as_wav(sound(key_of(f"{speaker} {take}"))))
    project.use(speech=["digits"])
    project.build()
    return {row["speaker"]: row["split"] for row in project.rows("speech")}


def test_listed_values_are_set_aside_and_the_others_drawn(project: Project) -> None:
    speakers = [f"s{letter}" for letter in "abcdefghijkl"]
    free = talks(project, speakers)
    first = next(speaker for speaker in speakers if free[speaker] == "test")
    listed = talks(project, speakers, validation=[first])
    assert listed[first] == "validation" and set(listed.values()) == {"train", "validation", "test"}
    assert all(listed[speaker] == free[speaker] for speaker in speakers if free[speaker] == "test" and speaker != first)
    with pytest.raises(UserError, match="no usable recording has speaker 'sz'"):
        talks(project, speakers, test=["sz"])


def test_a_speaker_who_joins_moves_nobody(project: Project) -> None:
    speakers = [f"s{letter}" for letter in "abcdefghijkl"]
    before = talks(project, speakers)
    assert set(before.values()) == {"train", "validation", "test"}
    after = talks(project, [*speakers, "zoe", "yan", "xia"])
    assert {speaker: after[speaker] for speaker in speakers} == before and len(after) == 15
