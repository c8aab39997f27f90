"""Levels and encoding: single precision where it is as good as double."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common import audio


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 5000), st.floats(1e-5, 1.0), st.integers(0, 9))
def test_powers_are_those_of_double_precision(frames: int, level: float, seed: int) -> None:
    wave = (level * np.random.default_rng(seed).normal(0, 1, frames)).astype(np.float32)
    expected = float(np.mean(np.square(wave, dtype=np.float64))) if frames else 0.0
    assert audio.mean_power(wave) == pytest.approx(expected, rel=2e-6)
    size = min(audio.FRAME, max(frames, 1))
    power = np.mean(np.square(wave[: frames // size * size].reshape(-1, size), dtype=np.float64), axis=1)
    active = power[power >= power.max(initial=0.0) * 1e-4]
    assert audio.active_power(wave) == pytest.approx(float(active.mean()) if frames else 0.0, rel=2e-6)


def test_power_of_a_tiny_wave_in_noise_floor_is_a_number() -> None:
    assert audio.rms_dbfs(np.full(1000, 1e-30, np.float32)) == -200.0
    assert audio.rms_dbfs(np.full(1000, 0.5, np.float32)) == pytest.approx(-6.0206, abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99))
def test_flac_is_quantised_as_in_double_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = rng.uniform(-1.1, 1.1, 3000).astype(np.float32)
    wave[::3] = (rng.integers(-32768, 32767, 1000) + 0.5) / 32768  # ties
    expected = np.clip(np.round(wave.astype(np.float64) * 32768), -32768, 32767) / 32768
    assert np.array_equal(audio.decode(audio.encode_flac(wave))[0], expected)
