"""What the tests of the palette listen with: a speech-like wave, draws, and measures of delay and spectrum."""

import functools

import numpy as np
from scipy.signal import butter, correlate, sosfilt, welch

from tasks.common.audio import RATE, Wave
from tasks.common.seeds import rng_of
from tasks.mix.corruptions.form import Uniform


@functools.cache
def speech(seconds: float = 3.0, seed: int = 0) -> Wave:
    """Pulses of a gliding voice through three formants, in syllables with pauses, and hiss for the consonants; half a second of silence in it."""
    rng = rng_of("speech-like", seed)
    frames = int(seconds * RATE)
    time = np.arange(frames) / RATE
    hz = 120.0 + 30.0 * np.sin(2.0 * np.pi * 0.7 * time + seed)
    pulses = (np.diff(np.floor(np.cumsum(hz) / RATE), prepend=0.0) > 0).astype(float)
    voiced = sum(sosfilt(butter(1, [f - 80, f + 80], "bandpass", fs=RATE, output="sos"), pulses) for f in (500, 1500, 2500))
    hiss = sosfilt(butter(2, [3000, 7000], "bandpass", fs=RATE, output="sos"), rng.standard_normal(frames))
    syllables = np.clip(np.sin(2.0 * np.pi * 2.5 * time + seed), 0.0, 1.0)
    wave = syllables * voiced / np.std(voiced) + 0.3 * np.roll(syllables, RATE // 10) * hiss / np.std(hiss)
    wave[frames // 2 : frames // 2 + RATE // 2] = 0.0
    wave = (0.05 * wave).astype(np.float32)
    wave.flags.writeable = False  # an effect that writes into its input is caught
    return wave


def uniform(rows: int, seed: int = 0) -> Uniform:
    """Draws for `rows` rows, another stream for every name."""
    return lambda name: rng_of("draws", seed, name).random(rows)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def lag(wave: Wave, reference: Wave) -> int:
    """By how many samples `wave` comes after `reference`."""
    return int(np.argmax(correlate(wave, reference, method="fft"))) - (len(reference) - 1)


def band_db(wave: Wave, low: float, high: float) -> float:
    """Power between two frequencies in dB."""
    hz, power = welch(wave, RATE, nperseg=2048, detrend=False)  # a mean taken off would put power near 0 Hz
    return 10.0 * float(np.log10(power[(hz >= low) & (hz < high)].sum() + 1e-30))


def tone(hz: float, seconds: float = 1.0, amplitude: float = 0.1) -> Wave:
    return (amplitude * np.sin(2.0 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def snr_db(reference: Wave, wave: Wave) -> float:
    error = wave.astype(np.float64) - reference
    return 10.0 * float(np.log10(np.mean(np.square(reference, dtype=np.float64)) / np.mean(error**2)))
