"""A lower rate loses the upper band; without a filter it folds back instead."""

import numpy as np
import pytest
from scipy.signal import resample_poly

from tasks.mix.corruptions import downsample
from tests.mix.corruptions.material import band_db, rng, snr_db, speech, tone


@pytest.mark.parametrize("rate", [8000, 11_025])
def test_downsample_loses_the_upper_band(rate: int) -> None:
    clean = speech()
    made = downsample.apply(clean, rng(), rate_hz=rate, conversion="sinc")
    assert band_db(made, rate / 2, 8000) < band_db(clean, rate / 2, 8000) - 40
    assert abs(band_db(made, 0, 0.44 * rate) - band_db(clean, 0, 0.44 * rate)) < 0.1


def test_downsample_sinc_is_what_a_converter_leaves() -> None:
    """Down to 8 kHz and back through scipy's polyphase converter with the same filter."""
    clean, taps = speech(), downsample.band_taps(0.0, 0.46 * 8000)
    peer = resample_poly(resample_poly(clean, 1, 2, window=taps.astype(float)), 2, 1, window=taps.astype(float))
    twice = downsample.filtered(downsample.apply(clean, rng(), rate_hz=8000, conversion="sinc"), taps)
    assert snr_db(twice, peer.astype(np.float32)) > 45


def test_downsample_linear_folds_a_tone_back() -> None:
    high = tone(5000.0)
    aliased = downsample.apply(high, rng(), rate_hz=8000, conversion="linear")
    assert band_db(aliased, 2900, 3100) > band_db(high, 4900, 5100) - 6
    assert band_db(downsample.apply(high, rng(), rate_hz=8000, conversion="sinc"), 2900, 3100) < band_db(high, 4900, 5100) - 45
    low = tone(400.0)
    assert snr_db(low[:-100], downsample.apply(low, rng(), rate_hz=8000, conversion="linear")[:-100]) > 30
