"""Babble is the sum of its voices, each as loud as the next over its active speech."""

import numpy as np
import pytest

from tasks.common.audio import active_power
from tasks.mix.corruptions import babble
from tasks.mix.corruptions.form import stretch
from tests.mix.corruptions.material import speech, uniform


def test_babble_is_the_sum_of_its_voices() -> None:
    voices = [speech(2.0, seed) * np.float32(gain) for seed, gain in ((1, 1.0), (2, 0.01), (3, 20.0))]
    offsets = [0.1, 0.5, 0.9]
    made = babble.mixdown(voices, 48_000, count=3, offsets=offsets)
    alone = [babble.mixdown([voice], 48_000, count=1, offsets=[offset]) for voice, offset in zip(voices, offsets, strict=True)]
    np.testing.assert_allclose(made, np.sum(alone, axis=0), atol=1e-5)
    for voice, offset, single in zip(voices, offsets, alone, strict=True):
        expected = stretch(voice, 48_000, offset) / np.sqrt(active_power(voice))
        np.testing.assert_allclose(single, expected, atol=1e-5)
        assert 10 * np.log10(active_power(single)) == pytest.approx(0, abs=0.7)


def test_babble_draws_its_voices() -> None:
    drawn = babble.draw(babble.Params(count=(3, 5)), uniform(100))
    assert set(drawn["count"]) == {3, 4, 5} and [len(offsets) for offsets in drawn["offsets"]] == drawn["count"]
