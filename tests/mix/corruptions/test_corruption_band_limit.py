"""What lies outside the cut-offs is gone, what lies inside is as it was, and nothing moves in time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.mix.corruptions import band_limit
from tests.mix.corruptions.material import band_db, lag, rng, speech, tone


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1500), st.integers(2200, 8000))
def test_band_limit_stops_outside_and_passes_inside(low: int, high: int) -> None:
    noise = rng().standard_normal(32_000).astype(np.float32)
    # Where the noise begins and ends it has every frequency, whatever the filter.
    made = band_limit.apply(noise, rng(), low_hz=low, high_hz=high)[400:-400]
    assert abs(band_db(made, low + 100, high - 100) - band_db(noise, low + 100, high - 100)) < 0.2
    if low > 150:
        assert band_db(made, 0, low - 100) < band_db(noise, 0, low - 100) - 40
    if high < 7800:
        assert band_db(made, high + 100, 8000) < band_db(noise, high + 100, 8000) - 40


def test_band_limit_is_six_db_down_at_the_cut_offs_and_delays_nothing() -> None:
    for hz in (400.0, 3000.0):
        clean = tone(hz)
        made = band_limit.apply(clean, rng(), low_hz=400.0, high_hz=3000.0)
        assert np.std(made[4000:12_000]) / np.std(clean[4000:12_000]) == pytest.approx(0.5, abs=0.03)
    assert lag(band_limit.apply(speech(), rng(), low_hz=200.0, high_hz=3000.0), speech()) == 0


def test_band_limit_open_on_both_sides_is_the_input() -> None:
    np.testing.assert_allclose(band_limit.apply(speech(), rng(), low_hz=0.0, high_hz=8000.0), speech(), atol=1e-7)


def test_band_limit_cut_offs_that_meet_are_refused() -> None:
    with pytest.raises(ValidationError, match="cut-offs meet"):
        band_limit.Params(low_hz=(50, 900), high_hz=(1000, 2000))
