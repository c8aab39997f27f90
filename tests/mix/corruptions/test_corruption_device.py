"""A device's response has the asked unevenness and roll-off, is minimum-phase, and belongs to its draw."""

import numpy as np
import pytest

from tasks.common.audio import RATE
from tasks.mix.corruptions import device
from tests.mix.corruptions.material import lag, rng, speech


def measured_db(taps: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.abs(np.fft.rfft(taps, device.SIZE)) + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_device_filter_has_the_response_drawn_for_it(seed: int) -> None:
    asked = device.magnitude(rng(seed), 3.0, 150.0, 6000.0)
    taps = device.minimum_phase(asked)
    hz = np.fft.rfftfreq(device.SIZE, 1 / RATE)
    inside = (hz > 100) & (hz < 7800)
    assert np.abs(measured_db(taps) - asked)[inside].max() < 0.5
    assert np.argmax(np.abs(taps)) < 8, "the energy of a minimum-phase filter comes first"


def test_device_ripple_and_roll_off_are_the_asked_ones() -> None:
    hz = np.fft.rfftfreq(device.SIZE, 1 / RATE)
    flat = device.magnitude(rng(), 0.0, 200.0, 4000.0)
    at = {edge: flat[np.argmin(np.abs(hz - edge))] for edge in (50, 200, 900, 4000, 8000)}
    assert at[200] == pytest.approx(-3, abs=0.3) and at[4000] == pytest.approx(-3, abs=0.3) and at[900] == pytest.approx(0, abs=0.1)
    assert at[50] == pytest.approx(-24, abs=1) and at[8000] == pytest.approx(-12.3, abs=0.5)
    curves = np.stack([device.magnitude(rng(seed), 4.0, 200.0, 4000.0) - flat for seed in range(200)])
    assert np.std(curves[:, (hz > 80) & (hz < 7900)]) == pytest.approx(4.0, rel=0.15)


def test_device_is_decided_by_its_generator_and_stays_in_time() -> None:
    drawn = {"ripple_db": 4.0, "low_hz": 150.0, "high_hz": 5000.0}
    first, second = (device.apply(speech(), rng(seed), **drawn) for seed in (1, 2))
    assert not np.allclose(first, second, atol=1e-3)
    assert abs(lag(first, speech())) <= 3
