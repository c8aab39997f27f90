"""Saturation makes odd harmonics, more of them with more drive, and folds none back."""

import numpy as np
import pytest

from tasks.common.audio import RATE
from tasks.mix.corruptions import saturation
from tests.mix.corruptions.material import rng, snr_db, tone


def spectrum(wave: np.ndarray) -> np.ndarray:
    """Power by Hz over the middle second of three."""
    return np.abs(np.fft.rfft(wave[RATE : 2 * RATE])) ** 2


@pytest.mark.parametrize("curve", ["tanh", "arctan"])
def test_saturation_makes_odd_harmonics(curve: saturation.Curve) -> None:
    shares = []
    for drive in (-10.0, 0.0, 12.0):
        power = spectrum(saturation.apply(tone(500.0, 3.0), rng(), drive_db=drive, curve=curve))
        shares.append(power[1500] / power[500])
        assert power[1000] < 1e-6 * power[500]
    assert shares == sorted(shares) and shares[2] > 0.02
    with np.errstate(all="raise"):  # a tone of RMS r * drive through the plain curve has the same third harmonic
        fine = np.sqrt(2) * 10 ** (12 / 20) * np.sin(2 * np.pi * np.arange(1000) / 1000)
        plain = np.abs(np.fft.rfft(saturation.bent(fine.astype(np.float32), curve))) ** 2
    assert shares[2] == pytest.approx(plain[3] / plain[1], rel=0.02)


def test_saturation_folds_little_back() -> None:
    def aliased_db(wave: np.ndarray) -> float:
        power = spectrum(wave)
        return 10 * float(np.log10((power.sum() - power[3137]) / power[3137]))

    clean = tone(3137.0, 3.0)  # its third harmonic is beyond 8 kHz: all there is besides it has been folded back
    drive = np.float32(10 ** (12 / 20) / np.std(clean))
    assert aliased_db(saturation.apply(clean, rng(), drive_db=12.0, curve="tanh")) < -45
    assert aliased_db(saturation.bent(clean * drive, "tanh")) > -15


def test_saturation_leaves_a_quiet_tone_nearly_alone() -> None:
    clean = tone(1000.0)
    assert snr_db(clean[400:-400], saturation.apply(clean, rng(), drive_db=-20.0, curve="tanh")[400:-400]) > 40
