"""The gain control falls with its attack, rises with its release, stops at its limit, and swells the pauses."""

import numpy as np
import pytest

from tasks.common.audio import RATE, rms_dbfs
from tasks.mix.corruptions import agc
from tests.mix.corruptions.material import rng

LOUD, QUIET = slice(RATE, 2 * RATE), slice(2 * RATE, 4 * RATE)


def bursts() -> np.ndarray:
    """Quiet, loud, quiet: 1 s, 1 s, 2 s; 30 dB apart."""
    wave = 0.003 * rng().standard_normal(4 * RATE).astype(np.float32)
    wave[LOUD] *= np.float32(31.62)
    return wave


def gain_db(attack_ms: float = 10.0, release_ms: float = 200.0, max_gain_db: float = 40.0) -> np.ndarray:
    wave = bursts()
    made = agc.apply(wave, rng(), attack_ms=attack_ms, release_ms=release_ms, max_gain_db=max_gain_db)
    return 20 * np.log10(made / wave)


def test_agc_swells_the_pause_and_levels_the_speech() -> None:
    wave = bursts()
    made = agc.apply(wave, rng(), attack_ms=10.0, release_ms=200.0, max_gain_db=40.0)
    end = slice(int(3.5 * RATE), 4 * RATE)
    assert rms_dbfs(wave[LOUD]) - rms_dbfs(wave[end]) == pytest.approx(30, abs=0.5)
    settled = slice(int(1.5 * RATE), 2 * RATE)
    assert abs(rms_dbfs(made[settled]) - rms_dbfs(made[end])) < 1.5


@pytest.mark.parametrize("release_ms", [100.0, 400.0])
def test_agc_rises_by_its_release(release_ms: float) -> None:
    gain = gain_db(release_ms=release_ms)
    start, end = gain[2 * RATE - 200], gain[-200]
    after = gain[2 * RATE + int(release_ms * RATE / 1000)]
    assert (after - start) / (end - start) == pytest.approx(1 - np.exp(-1), abs=0.06)


def test_agc_falls_by_its_attack() -> None:
    at = RATE + RATE // 50
    assert gain_db(attack_ms=5.0)[at] < gain_db(attack_ms=100.0)[at] - 8


def test_agc_stops_at_its_limit() -> None:
    assert np.abs(gain_db(max_gain_db=12.0)).max() == pytest.approx(12.0, abs=0.1)
    assert np.abs(gain_db(max_gain_db=0.0)).max() == pytest.approx(0.0, abs=1e-3)
