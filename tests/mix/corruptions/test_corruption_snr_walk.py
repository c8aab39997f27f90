"""The walk stays within its depth, moves, is smooth, and belongs to its draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.audio import RATE
from tasks.mix.corruptions import snr_walk
from tests.mix.corruptions.material import rng


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 30), st.floats(0.1, 10), st.integers(0, 999), st.integers(1, 100_000))
def test_snr_walk_stays_within_its_depth_and_is_smooth(depth: float, step: float, seed: int, frames: int) -> None:
    decibels = 20 * np.log10(snr_walk.gain(frames, rng(seed), depth_db=depth, step_s=step))
    assert np.abs(decibels).max() <= depth + 1e-3
    # Half a cosine over at most twice the depth is steepest in its middle.
    assert np.abs(np.diff(decibels)).max(initial=0) <= np.pi / 2 * 2 * depth / (step * RATE) * 1.1 + 1e-4


def test_snr_walk_uses_its_depth() -> None:
    walks = np.stack([20 * np.log10(snr_walk.gain(10 * RATE, rng(seed), depth_db=8.0, step_s=1.0)) for seed in range(40)])
    assert np.ptp(walks, axis=1).mean() > 7 and abs(walks.mean()) < 1 and np.abs(walks).max() == pytest.approx(8, abs=0.5)
    assert not np.allclose(walks[0], walks[1])


def test_snr_walk_of_no_depth_is_one() -> None:
    np.testing.assert_allclose(snr_walk.gain(1000, rng(), depth_db=0.0, step_s=1.0), 1.0)
