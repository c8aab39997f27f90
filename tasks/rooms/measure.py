"""Reverberation measured from a response: where the direct sound is, RT60 and C50.

RT60 follows ISO 3382: Schroeder's backward integration, a line fitted from -5 to -35 dB (T30), or to -25 dB (T20) where the
response does not rise 45 dB above its noise, each extrapolated to 60 dB.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave

FRAME = RATE // 100
STRAIGHT = 0.95  # least squared correlation of decay and line: below it there is no one decay to speak of
DIRECT = 32  # sample at which every stored response has its direct sound: 2 ms, room for the interpolation kernel's rise


@dataclass(frozen=True)
class Decay:
    """RT60 in seconds, None where the decay is too short or too bent to tell; how it was fitted; C50 in dB."""

    rt60_s: float | None
    fit: str
    c50_db: float


def direct_index(rir: Wave) -> int:
    """Sample of the direct sound: the largest within 1 ms of the first that comes within 20 dB of the peak (ISO 3382's start)."""
    level = np.abs(rir)
    start = int(np.argmax(level >= level.max() * 0.1))
    return start + int(np.argmax(level[start : start + RATE // 1000]))


def aligned(rir: Wave) -> Wave:
    """The response with its direct sound at `DIRECT` and its direct path (2 ms around it) of energy 1.

    Raises ValueError for a response of silence.
    """
    if not np.any(rir):
        raise ValueError("the response is silent")
    direct = direct_index(rir)
    padding = np.flatnonzero(rir)[-1] + 1  # zeros after the end would pass for a noise floor of nothing
    out = np.concatenate([np.zeros(DIRECT, np.float32), rir[:padding]])[direct:]
    energy = float(np.sum(np.square(out[: 2 * DIRECT], dtype=np.float64)))
    return np.ascontiguousarray(out / np.sqrt(energy), dtype=np.float32)


def envelope(rir: Wave) -> NDArray[np.float64]:
    """(windows,) mean power of 50 ms, every 10 ms; shorter windows where the response is."""
    size = min(FRAME, len(rir))
    frames = np.square(rir[: len(rir) // size * size], dtype=np.float64).reshape(-1, size).mean(axis=1)
    width = min(5, len(frames))
    return np.convolve(frames, np.full(width, 1 / width), "valid")


def knee(rir: Wave) -> int:
    """Samples until the decay comes within 5 dB of the quietest 50 ms, which are noise or the end."""
    power = envelope(rir)
    loudest = int(np.argmax(power))
    return (loudest + int(np.argmax(power[loudest:] <= power.min() * 10**0.5)) + 1) * FRAME


def schroeder_db(rir: Wave) -> NDArray[np.float64]:
    """(frames,) energy left at each sample, in dB of the whole."""
    left = np.cumsum(np.square(rir, dtype=np.float64)[::-1])[::-1]
    return np.asarray(10.0 * np.log10(np.maximum(left / left[0], 1e-30)))


def measure(rir: Wave) -> Decay:
    """RT60 and C50 of a response (frames,) as `aligned` gives it."""
    used = rir[: knee(rir)]
    decay = schroeder_db(used)
    early = int(DIRECT + 0.05 * RATE)
    late = float(np.sum(np.square(used[early:], dtype=np.float64)))
    c50 = 10.0 * float(np.log10(np.sum(np.square(used[:early], dtype=np.float64)) / late)) if late > 0 else 100.0
    power = envelope(rir)
    span = 10.0 * float(np.log10(power.max() / power.min())) if power.min() > 0 else 200.0
    for fit, bottom, needed in (("T30", -35.0, 45.0), ("T20", -25.0, 35.0)):
        if span >= needed and decay[-1] < bottom:
            within = np.flatnonzero((decay <= -5.0) & (decay >= bottom))
            if len(within) < 3 or np.corrcoef(within, decay[within])[0, 1] ** 2 < STRAIGHT:
                break
            return Decay(-60.0 / float(np.polyfit(within / RATE, decay[within], 1)[0]), fit, c50)
    return Decay(None, "none", c50)
