"""GSM full rate: narrowband, aligned, and coarse."""

from tasks.mix.corruptions import gsm
from tasks.mix.corruptions.codec import CODER
from tasks.mix.corruptions.filters import BELOW_4K, band_taps, from_narrow, to_narrow
from tests.mix.corruptions.material import band_db, lag, rng, snr_db, speech


def test_gsm_is_narrow_aligned_and_coarse() -> None:
    clean = speech()
    made = gsm.apply(clean, rng(), coder=CODER)
    assert abs(lag(made, clean)) <= 2
    assert band_db(made, 4000, 8000) < band_db(clean, 4000, 8000) - 30
    assert abs(band_db(made, 300, 3000) - band_db(clean, 300, 3000)) < 1.5
    taps = band_taps(*BELOW_4K)
    band_alone = from_narrow(to_narrow(clean, taps), len(clean), taps)
    assert 3 < snr_db(band_alone, made) < 20  # the codec's own error, not that of the band
