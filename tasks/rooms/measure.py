"""Reverberation measured from a response: where the direct sound is, RT60, C50 and DRR.

RT60 follows ISO 3382: Schroeder's backward integration, a line fitted from -5 to -35 dB (T30), or to -25 dB (T20) where the
response does not rise 45 dB above its noise, each extrapolated to 60 dB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave

FRAME = RATE // 100
STRAIGHT = 0.95  # least squared correlation of decay and line: below it there is no one decay to speak of
NEAR = RATE // 400  # 2.5 ms: the direct sound is what lies no further from its peak
DIRECT = 32  # sample at which every stored response has its direct sound: 2 ms, room for the interpolation kernel's rise


@dataclass(frozen=True)
class Decay:
    """RT60 in seconds, None where the decay is too short or too bent to tell; how it was fitted; C50 and DRR in dB."""

    rt60_s: float | None
    fit: str
    c50_db: float
    drr_db: float


def direct_index(rir: Wave) -> int:
    """Sample of the direct sound: the largest within 1 ms of the first that comes within 20 dB of the peak (ISO 3382's start)."""
    level = np.abs(rir)
    start = int(np.argmax(level >= level.max() * 0.1))
    return start + int(np.argmax(level[start : start + RATE // 1000]))


def started(rir: Wave, direct: int) -> Wave:
    """The response with sample `direct` brought to `DIRECT`, without the silence at its end."""
    padding = int(np.flatnonzero(rir)[-1]) + 1  # zeros after the end would pass for a noise floor of nothing
    return np.concatenate([np.zeros(DIRECT, np.float32), rir[:padding]])[direct:]


def aligned(rirs: Sequence[Wave], directs: Sequence[int] | None = None) -> list[Wave]:
    """The responses of one array to one source, the earliest direct sound at `DIRECT` and that direct path (2 ms around it) of energy 1.

    Delays and levels between the microphones stay as they are. Samples of the direct sounds are found where they are not given.
    Raises ValueError where a response is silent.
    """
    if not all(np.any(rir) for rir in rirs):
        raise ValueError("the response is silent")
    directs = [direct_index(rir) for rir in rirs] if directs is None else directs
    first = int(np.argmin(directs))
    out = [started(rir, directs[first]) for rir in rirs]
    energy = float(np.sum(np.square(out[first][: 2 * DIRECT], dtype=np.float64)))
    return [np.ascontiguousarray(rir / np.sqrt(energy), dtype=np.float32) for rir in out]


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


def ratio_db(part: float, rest: float) -> float:
    """A ratio of energies in dB, 100 where there is no rest."""
    return 10.0 * float(np.log10(part / rest)) if rest > 0 else 100.0


def measure(rir: Wave, direct: int = DIRECT) -> Decay:
    """RT60, C50 and DRR of a response (frames,) as `aligned` gives it, with its direct sound at sample `direct`.

    C50 (ISO 3382) is the energy up to 50 ms after the direct sound to the energy later than that. DRR is the energy within 2.5 ms of
    the direct sound to all that follows (Naylor and Gaubitch 2010).
    """
    used = rir[: knee(rir)]
    decay = schroeder_db(used)
    spent = np.concatenate([[0.0], np.cumsum(np.square(used, dtype=np.float64))])
    early, near, before = (int(spent_at) for spent_at in np.clip([direct + 0.05 * RATE, direct + NEAR + 1, direct - NEAR], 0, len(used)))
    c50 = ratio_db(spent[early], spent[-1] - spent[early])
    drr = ratio_db(spent[near] - spent[before], spent[-1] - spent[near])
    power = envelope(rir)
    span = 10.0 * float(np.log10(power.max() / power.min())) if power.min() > 0 else 200.0
    for fit, bottom, needed in (("T30", -35.0, 45.0), ("T20", -25.0, 35.0)):
        if span >= needed and decay[-1] < bottom:
            within = np.flatnonzero((decay <= -5.0) & (decay >= bottom))
            if len(within) < 3 or np.corrcoef(within, decay[within])[0, 1] ** 2 < STRAIGHT:
                break
            return Decay(-60.0 / float(np.polyfit(within / RATE, decay[within], 1)[0]), fit, c50, drr)
    return Decay(None, "none", c50, drr)


def trimmed(rir: Wave) -> Wave:
    """The response up to where 60 dB of its energy is spent, or its noise begins."""
    spent = np.flatnonzero(schroeder_db(rir) < -60.0)
    end = min(int(spent[0]) if len(spent) else len(rir), knee(rir))
    return rir[: max(end, 2 * DIRECT)]
