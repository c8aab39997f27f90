"""The telephone's band (ITU-T G.712), aligned, with G.711 inside."""

import numpy as np
import pytest

from tasks.mix.corruptions import telephone
from tasks.mix.corruptions.codec import CODER
from tests.mix.corruptions.material import lag, rng, snr_db, speech, tone


def response_db(hz: float) -> float:
    clean = tone(hz)
    middle = slice(4000, 12_000)
    made = telephone.apply(clean, rng(), law="none", coder=CODER)
    return 10 * float(np.log10(np.mean(made[middle] ** 2) / np.mean(clean[middle] ** 2) + 1e-12))


def test_telephone_band() -> None:
    assert all(abs(response_db(hz)) < 1.0 for hz in (300, 500, 1000, 2000, 3000, 3400))
    assert all(response_db(hz) < -40 for hz in (50, 100, 3700, 4000, 4600, 5500, 7500))


@pytest.mark.parametrize("law", ["mu", "a"])
def test_telephone_quantises_inside_the_band(law: telephone.Law) -> None:
    clean = speech()
    band = telephone.apply(clean, rng(), law="none", coder=CODER)
    made = telephone.apply(clean, rng(), law=law, coder=CODER)
    assert lag(made, clean) == 0 and 33 < snr_db(band, made) < 42
