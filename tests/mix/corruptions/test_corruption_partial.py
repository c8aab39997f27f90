"""The noise has the asked share of the clip, with short fades, and nothing outside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.mix.corruptions import partial
from tests.mix.corruptions.material import rng, uniform


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1), st.floats(0, 1), st.integers(1, 50_000))
def test_partial_covers_the_asked_share(share: float, start: float, frames: int) -> None:
    gains = partial.gain(frames, rng(), share=share, start=start)
    heard = np.flatnonzero(gains)
    assert len(heard) == max(1, round(share * frames)) and heard[-1] - heard[0] + 1 == len(heard)
    assert gains.max() <= 1 and gains.min() >= 0
    assert heard[0] == pytest.approx(start * (frames - len(heard)), abs=1)


def test_partial_fades_for_20_ms() -> None:
    gains = partial.gain(16_000, rng(), share=0.5, start=0.5)
    assert gains[4000] < 0.001 and gains[4160] == pytest.approx(0.5, abs=0.01) and gains[4320:11_680].min() == 1.0
    assert np.abs(np.diff(gains)).max() < 0.01
    np.testing.assert_allclose(gains[4000:12_000], gains[4000:12_000][::-1])


def test_partial_draws_shares_and_starts() -> None:
    drawn = partial.draw(partial.Params(share=(0.3, 0.4)), uniform(400))
    assert 0.3 <= min(drawn["share"]) < 0.31 and 0.39 < max(drawn["share"]) <= 0.4
    assert min(drawn["start"]) < 0.02 and max(drawn["start"]) > 0.98
