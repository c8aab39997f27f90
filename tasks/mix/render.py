"""The samples of a mixture: reverberation, noise at an SNR over active speech, effects, level, and what was achieved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.common.audio import Wave, active_power, mean_power, rms_dbfs
from tasks.mix.convolve import Spectrum, convolved, spectrum
from tasks.mix.memory import Kept, keep_freed_memory
from tasks.rooms.measure import DIRECT

Effects = Callable[[Wave], Wave]
FAINT = 1e-6  # -60 dB


@dataclass(frozen=True)
class Mixed:
    """Samples (frames,) at 16 kHz, the SNR achieved in dB (None without noise) and the RMS level achieved."""

    wave: Wave
    snr_db: float | None
    level_dbfs: float


def reverberated(speech: Wave, rir: Wave, spectrum_of: Callable[[Wave, int], Spectrum] = spectrum) -> Wave:
    """The speech in a room, as long as the speech: the direct sound stays where it was, the tail after the clip's end is cut."""
    if len(rir) <= DIRECT:
        raise ValueError(f"the response ends before its direct sound, which is at sample {DIRECT}")
    return convolved(speech, rir, DIRECT, spectrum_of)


def stretch(noise: Wave, frames: int, offset: float) -> Wave:
    """`frames` samples of the noise from `offset` (a share of the possible starts); a shorter noise is looped.

    A stretch more than 60 dB below the clip's own level cannot carry an SNR; the one around the clip's loudest sample replaces it.
    """
    if len(noise) < frames:
        return np.resize(np.roll(noise, -int(offset * len(noise))), frames)
    starts = len(noise) - frames
    piece = noise[int(offset * (starts + 1)) :][:frames]
    # A clip within full scale has a power of at most 1, so only a faint stretch is worth the look at the whole clip.
    if starts and (faint := mean_power(piece)) < FAINT and faint < FAINT * mean_power(noise):
        piece = noise[min(starts, max(0, int(np.argmax(np.abs(noise))) - frames // 2)) :][:frames]
    return piece


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
    envelope: Wave | None = None,
    effects: Effects | None = None,
    level_dbfs: float | None = None,
    peak: float = 0.99,
    spectrum_of: Callable[[Wave, int], Spectrum] = spectrum,
) -> Mixed:
    """One mixture, as long as the speech: speech, room, noise at the SNR, effects, level.

    The SNR is the power of the (reverberant) speech over its active frames to the power of the noise, both before the effects; the equation is
    that of `torchaudio.functional.add_noise`. The noise's power is taken over the samples where it is on: all of them, or those where `envelope` is
    above 0, so noise on a part of the clip is as loud there as if it had gone on throughout. The level is the RMS of the mixture after the effects;
    None leaves it alone. The gain is lowered where the peak would pass `peak`, so nothing clips. The SNR returned is measured on the two parts.

    Args:
        speech: (frames,).
        noise: any length (see `stretch`), or (frames,) already mixed down from several sources.
        rir: response of the room with the direct sound at `DIRECT`.
        snr_db, offset: of the noise.
        envelope: (frames,) gain of at least 0 on the noise, applied before its level is set.
        effects: (frames,) to (frames,), applied to the mixture.
        level_dbfs, peak: of the mixture; in dB and as a share of full scale.
        spectrum_of: where spectra of responses come from.

    Raises:
        ValueError: speech or noise is silent, so there is no SNR.
    """
    heard = speech if rir is None else reverberated(speech, rir, spectrum_of)
    total, snr = heard, None
    if noise is not None:
        under = stretch(noise, len(heard), offset)
        on = 1.0
        if envelope is not None:
            under, on = under * envelope, np.count_nonzero(envelope) / max(len(envelope), 1)
        speech_power, noise_power = active_power(heard), mean_power(under)
        if speech_power <= 0.0 or noise_power <= 0.0:
            raise ValueError(f"the {'speech' if speech_power <= 0.0 else 'noise'} is silent")
        under = under * np.float32(np.sqrt(speech_power / noise_power * on) * 10.0 ** (-snr_db / 20.0))
        snr = decibels(speech_power / mean_power(under) * on)
        total = np.add(heard, under, out=under)
    if effects is not None:
        total = effects(total)
    if level_dbfs is not None:
        loudest = max(float(total.max(initial=0.0)), -float(total.min(initial=0.0))) or 1.0
        total = total * np.float32(min(10.0 ** ((level_dbfs - rms_dbfs(total)) / 20.0), peak / loudest))
    return Mixed(total, snr, rms_dbfs(total))


class Renderer:
    """Renders mixtures of one set of rooms, and keeps the spectra of their responses (`keep` bytes of them); what it renders is what `mix` renders.

    `response_of` gives the response of a room by its id, which must decide its samples.
    """

    def __init__(self, response_of: Callable[[str], Wave], keep: int = 64 << 20) -> None:
        self.response_of = response_of
        self.spectra = Kept(keep)
        keep_freed_memory()

    def mix(
        self,
        speech: Wave,
        noise: Wave | None = None,
        room_id: str | None = None,
        *,
        snr_db: float = 0.0,
        offset: float = 0.0,
        envelope: Wave | None = None,
        effects: Effects | None = None,
        level_dbfs: float | None = None,
        peak: float = 0.99,
    ) -> Mixed:
        """As `tasks.mix.render.mix`, with the room by its id."""
        return mix(
            speech,
            noise,
            None if room_id is None else self.response_of(room_id),
            snr_db=snr_db,
            offset=offset,
            envelope=envelope,
            effects=effects,
            level_dbfs=level_dbfs,
            peak=peak,
            spectrum_of=lambda response, length: self.spectra.get((room_id, length), lambda: spectrum(response, length)),
        )
