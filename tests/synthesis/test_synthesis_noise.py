"""Each noise has the level that was asked and the spectrum or the shape its name promises."""

import numpy as np
import pytest
from scipy import signal, stats

from tasks.common.audio import RATE, Wave, rms_dbfs
from tasks.common.params import load
from tasks.synthesis.noise import PEAK, noise
from tasks.synthesis.params import NoiseParams, SynthesisParams


@pytest.fixture(scope="module")
def params() -> NoiseParams:
    return load("synthesis", SynthesisParams).noise


@pytest.fixture(scope="module")
def waves(params: NoiseParams) -> dict[str, list[Wave]]:
    return {noise_type: [noise(noise_type, index, params) for index in range(2)] for noise_type in params.types}


def band_db(wave: Wave, low: float, high: float) -> float:
    """Mean power density between two frequencies, in dB."""
    hz, power = signal.welch(wave, RATE, nperseg=4096)
    return 10.0 * float(np.log10(power[(hz >= low) & (hz < high)].mean()))


def test_level_length_and_peak(waves: dict[str, list[Wave]], params: NoiseParams) -> None:
    for noise_type, clips in waves.items():
        for wave in clips:
            assert len(wave) == params.clip_s * RATE
            assert np.abs(wave).max() <= PEAK + 1e-6
            if np.abs(wave).max() < PEAK - 1e-3:
                assert rms_dbfs(wave) == pytest.approx(params.level_dbfs, abs=0.01), noise_type


def test_same_index_same_bits_other_index_other_sound(waves: dict[str, list[Wave]], params: NoiseParams) -> None:
    for noise_type, (first, second) in waves.items():
        assert np.array_equal(first, noise(noise_type, 0, params)), noise_type
        assert not np.allclose(first, second), noise_type


def test_white_is_flat_and_pink_falls_three_db_an_octave(waves: dict[str, list[Wave]]) -> None:
    white, pink = waves["white"][0], waves["pink"][0]
    assert abs(band_db(white, 200, 400) - band_db(white, 3200, 6400)) < 1.0
    assert band_db(pink, 200, 400) - band_db(pink, 3200, 6400) == pytest.approx(4 * 3.01, abs=1.0)


def test_hum_stands_on_the_harmonics_of_the_mains(waves: dict[str, list[Wave]]) -> None:
    for wave in waves["hum"]:
        power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2  # bins of 0.1 Hz
        mains = 50 if power[495:506].sum() > power[594:607].sum() else 60
        near = sum(power[10 * mains * order - 10 * order // 2 - 5 : 10 * mains * order + 10 * order // 2 + 6].sum() for order in range(1, 6))
        assert near > 0.8 * power[: 10 * mains * 5 + 30].sum()


def test_impulsive_is_sparse_and_the_stationary_are_not(waves: dict[str, list[Wave]]) -> None:
    assert all(stats.kurtosis(wave) > 10 for wave in waves["impulsive"])
    assert all(abs(stats.kurtosis(wave)) < 1 for noise_type in ("white", "pink") for wave in waves[noise_type])


def test_babble_has_the_spectrum_and_the_modulation_of_speech(waves: dict[str, list[Wave]]) -> None:
    wave = waves["babble"][0]
    assert band_db(wave, 200, 1000) > band_db(wave, 3000, 6000) + 6
    frames = np.sqrt(np.mean(np.square(wave[: len(wave) // 320 * 320].reshape(-1, 320)), axis=1))
    assert frames.std() / frames.mean() > 0.2  # white noise in such frames: about 0.04


def test_engine_is_low_harmonic_and_moving(waves: dict[str, list[Wave]]) -> None:
    for wave in waves["engine"]:
        assert band_db(wave, 20, 300) > band_db(wave, 2000, 6000) + 15
