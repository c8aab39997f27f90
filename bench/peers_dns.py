"""The loop of the DNS Challenge's synthesizer (github.com/microsoft/DNS-Challenge: noisyspeech_synthesizer_singleprocess.py, audiolib.py).

Written anew, step by step as published: double precision, the whole noise file read for a stretch of it, Python's own `sum`, `max` and `any` over
arrays, an activity check of the clean speech, segmental SNR, clipping checks. The published loop also checks and writes speech and
noise apart; here it is spared that.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from bench.material import SNR_DB, Material
from tasks.common.audio import RATE, Wave

Signal = NDArray[np.float64]
EPS = float(np.finfo(float).eps)
TARGET_DBFS = -25.0


def encode(wave: Wave) -> bytes:
    """FLAC as soundfile writes floating-point samples."""
    buffer = io.BytesIO()
    sf.write(buffer, wave, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def is_clipped(signal: Signal) -> bool:
    """Whether a sample passes 0.99."""
    return any(abs(signal) > 0.99)


def read(path: Path) -> Signal:
    """A mono file in double precision."""
    signal: Signal = sf.read(path)[0]
    return signal


def at_level(signal: Signal, rms: float) -> Signal:
    """Scaled from `rms` to the target level."""
    return signal * (10.0 ** (TARGET_DBFS / 20.0) / (rms + EPS))


def active_share(signal: Signal) -> float:
    """Share of 50 ms windows whose smoothed energy probability passes 0.13."""
    signal = at_level(signal, float((signal**2).mean() ** 0.5))
    width, active, windows, before = RATE // 20, 0, 0, 0.0
    for start in range(0, len(signal), width):
        level = 20.0 * np.log10(sum(signal[start : start + width] ** 2) + EPS)
        probability = 1.0 / (1.0 + np.exp(1.0 - 0.2 * level))
        weight = 0.8 if probability > before else 0.05
        active += weight * probability + (1.0 - weight) * before > 0.13
        windows, before = windows + 1, probability
    return active / windows


def active_rms(clean: Signal, noise: Signal) -> tuple[float, float]:
    """RMS of both over the 100 ms windows where the noise is above -50 dB."""
    width = RATE // 10
    kept_clean: Signal = np.zeros(0)
    kept_noise: Signal = np.zeros(0)
    for start in range(0, len(noise), width):
        window = noise[start : start + width]
        if 20.0 * np.log10((window**2).mean() + EPS) > -50.0:
            kept_noise = np.append(kept_noise, window)
            kept_clean = np.append(kept_clean, clean[start : start + width])
    return tuple(float((kept**2).mean() ** 0.5) if len(kept) else EPS for kept in (kept_clean, kept_noise))  # type: ignore[return-value]


def segmental_mix(clean: Signal, noise: Signal, snr_db: float) -> Signal:
    """Peak to one, both at the target level over active windows, noise at the SNR, the sum at the target level and below clipping."""
    clean = clean / (max(abs(clean)) + EPS)
    noise = noise / (max(abs(noise)) + EPS)
    clean_rms, noise_rms = active_rms(clean, noise)
    clean, noise = at_level(clean, clean_rms), at_level(noise, noise_rms)
    noise = noise * (clean_rms / 10.0 ** (snr_db / 20.0) / (noise_rms + EPS))
    noisy = clean + noise
    gain = 10.0 ** (TARGET_DBFS / 20.0) / (float((noisy**2).mean() ** 0.5) + EPS)
    noisy, clean, noise = noisy * gain, clean * gain, noise * gain
    if is_clipped(noisy):
        over = max(abs(noisy)) / (0.99 - EPS)
        noisy, clean, noise = noisy / over, clean / over, noise / over
    return noisy


def renderer(material: Material) -> Callable[[int], Wave]:
    """Clip index to mixture."""
    rng = np.random.default_rng(0)

    def source(path: Path, frames: int | None) -> Signal:
        signal = read(path)
        if frames is not None and len(signal) > frames:
            start = int(rng.integers(0, len(signal) - frames))
            signal = signal[start : start + frames]
        if is_clipped(signal):
            raise ValueError(f"{path} clips")
        return np.append(np.zeros(0), signal)

    def render(index: int) -> Wave:
        clean = source(material.clip(index), None)
        if not active_share(clean) > 0.6:
            raise ValueError("too little activity")
        clean = fftconvolve(clean, read(material.room(index)), mode="full")[: len(clean)]
        noise = source(material.noise(index), len(clean))
        return segmental_mix(clean, noise, SNR_DB).astype(np.float32)

    return render
