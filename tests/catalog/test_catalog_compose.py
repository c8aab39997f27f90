"""Composing keeps every word whole, in order, apart and in time; splits by rank leave none empty."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog.compose import compose
from tasks.catalog.splits import block
from tasks.catalog.utterances import next_words
from tasks.common.audio import RATE, Wave

LENGTHS = st.lists(st.integers(1600, 14000), min_size=1, max_size=4)


def words_of(lengths: list[int]) -> list[Wave]:
    return [np.random.default_rng(length).normal(0, 10.0 ** (-1 - index / 2), length).astype(np.float32) for index, length in enumerate(lengths)]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000), max_s=st.floats(1.0, 2.5))
def test_words_are_whole_in_order_and_never_past_the_end(lengths: list[int], seed: int, max_s: float) -> None:
    words = words_of(lengths)
    wave, starts_s, ends_s = compose(words, np.random.default_rng(seed), (0.05, 0.1), (0.0, 0.1), max_s)
    assert wave.dtype == np.float32 and len(wave) <= max_s * RATE and np.abs(wave).max() <= 0.951
    assert 1 <= len(starts_s) == len(ends_s) <= len(words)
    rest = wave.copy()
    for word, start_s, end_s in zip(words, starts_s, ends_s, strict=False):
        start, end = round(start_s * RATE), round(end_s * RATE)
        assert end - start == len(word)
        gain = np.dot(wave[start:end], word) / np.dot(word, word)
        assert np.allclose(wave[start:end], gain * word, atol=1e-5)
        rest[start:end] = 0.0
    assert not rest.any()
    assert all(0.049 <= start - end <= 0.101 for end, start in zip(ends_s, starts_s[1:], strict=False))
    if len(starts_s) < len(words):
        assert ends_s[-1] + 0.05 + len(words[len(starts_s)]) / RATE > max_s - 0.06  # the next one would not have fitted


def test_levels_of_quiet_and_loud_words_come_near_each_other() -> None:
    wave, starts_s, ends_s = compose(words_of([4000, 4001, 4002]), np.random.default_rng(1))
    levels = [20 * np.log10(wave[round(a * RATE) : round(b * RATE)].std()) for a, b in zip(starts_s, ends_s, strict=True)]
    assert max(levels) - min(levels) < 3.1  # they came 20 dB apart


def test_a_word_that_cannot_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="no word fits"):
        compose([np.ones(3 * RATE, np.float32)], np.random.default_rng(0))


def test_same_seed_same_utterance() -> None:
    words = words_of([4000, 5000])
    assert np.array_equal(compose(words, np.random.default_rng(5))[0], compose(words, np.random.default_rng(5))[0])


@given(count=st.integers(1, 60), validation=st.floats(0.05, 0.3), test=st.floats(0.05, 0.3))
def test_blocks_are_contiguous_and_none_is_empty(count: int, validation: float, test: float) -> None:
    splits = [block(rank, count, validation, test) for rank in range(count)]
    order = ["train", "validation", "test"]
    assert splits == sorted(splits, key=order.index)
    assert set(splits) == ({"train"} if count == 1 else {"train", "test"} if count == 2 else set(order))
    assert abs(splits.count("test") - test * count) <= 1


def test_next_words_stay_balanced_and_distinct() -> None:
    vocabulary, spoken, first = [f"w{index}" for index in range(12)], Counter[str](), Counter[str]()
    for number in range(300):
        words = next_words(vocabulary, spoken, 1 + number % 3, np.random.default_rng(number))
        assert len(set(words)) == len(words) == 1 + number % 3
        spoken.update(words)
        first.update(words[:1])
    assert max(spoken.values()) - min(spoken.values()) <= 1
    assert max(first.values()) < 2 * min(first.values())
