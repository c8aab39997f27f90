"""The samples of a mixture: reverberation, noise at an SNR over active speech, level, and what was achieved."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import oaconvolve

from tasks.common.audio import Wave, active_power, rms_dbfs
from tasks.rooms.measure import DIRECT


@dataclass(frozen=True)
class Mixed:
    """Samples (frames,) at 16 kHz, the SNR achieved in dB (None without noise) and the RMS level achieved."""

    wave: Wave
    snr_db: float | None
    level_dbfs: float


def reverberated(speech: Wave, rir: Wave) -> Wave:
    """The speech in a room, as long as the speech: the direct sound stays where it was, the tail after the clip's end is cut."""
    return np.asarray(oaconvolve(speech, rir)[DIRECT : DIRECT + len(speech)], dtype=np.float32)


def stretch(noise: Wave, frames: int, offset: float) -> Wave:
    """`frames` samples of the noise from `offset` (a share of the possible starts); a shorter noise is looped.

    A stretch more than 60 dB below the clip's own level cannot carry an SNR; the one around the clip's loudest sample replaces it.
    """
    if len(noise) < frames:
        return np.take(noise, np.arange(frames) + int(offset * len(noise)), mode="wrap")
    starts = len(noise) - frames
    piece = noise[int(offset * (starts + 1)) :][:frames]
    if rms_dbfs(piece) < rms_dbfs(noise) - 60.0:
        piece = noise[min(starts, max(0, int(np.argmax(np.abs(noise))) - frames // 2)) :][:frames]
    return piece


def power(wave: Wave) -> float:
    """Mean square."""
    return float(np.mean(np.square(wave, dtype=np.float64)))


def decibels(ratio: float) -> float:
    """A ratio of powers in dB."""
    return 10.0 * float(np.log10(ratio))


def mix(
    speech: Wave,
    noise: Wave | None = None,
    rir: Wave | None = None,
    *,
    snr_db: float = 0.0,
    offset: float = 0.0,
    level_dbfs: float | None = None,
    peak: float = 0.99,
) -> Mixed:
    """One mixture, as long as the speech.

    The SNR is the power of the (reverberant) speech over its active frames to the power of the noise over the whole mixture; the equation is
    that of `torchaudio.functional.add_noise`. The level is the RMS of the mixture; None leaves it alone. The gain is lowered where the
    peak would pass `peak`, so nothing clips. The SNR returned is measured on the two parts as they stand in the mixture.

    Raises:
        ValueError: speech or noise is silent, so there is no SNR.
    """
    heard = speech if rir is None else reverberated(speech, rir)
    under = None
    if noise is not None:
        under = stretch(noise, len(heard), offset)
        speech_power, noise_power = active_power(heard), power(under)
        if speech_power <= 0.0 or noise_power <= 0.0:
            raise ValueError(f"the {'speech' if speech_power <= 0.0 else 'noise'} is silent")
        under = under * np.float32(10.0 ** ((decibels(speech_power / noise_power) - snr_db) / 20.0))
    if level_dbfs is not None:
        total = heard if under is None else heard + under
        loudest = float(np.abs(total).max(initial=0.0)) or 1.0
        gain = np.float32(min(10.0 ** ((level_dbfs - rms_dbfs(total)) / 20.0), peak / loudest))
        heard, under = heard * gain, None if under is None else under * gain
    if under is None:
        return Mixed(heard, None, rms_dbfs(heard))
    return Mixed(heard + under, decibels(active_power(heard) / power(under)), rms_dbfs(heard + under))
