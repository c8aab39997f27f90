"""Opus: aligned at every rate, and closer to the original with more bits."""

from tasks.mix.corruptions import opus
from tasks.mix.corruptions.codec import CODER
from tests.mix.corruptions.material import lag, rng, snr_db, speech


def test_opus_is_aligned_and_more_bits_mean_less_error() -> None:
    clean = speech(2.0)
    errors = []
    for kbps in (6.0, 12.0, 32.0, 128.0):
        made = opus.apply(clean, rng(), kbps=kbps, coder=CODER)
        assert abs(lag(made, clean)) <= 2 and len(made) == len(clean)
        errors.append(snr_db(clean, made))
    assert errors == sorted(errors) and errors[0] < 10 < 15 < errors[-1]
