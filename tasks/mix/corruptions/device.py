"""Device response: the frequency response of a microphone or loudspeaker, drawn at random: uneven, and weak at both ends of the band."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.interpolate import CubicSpline
from scipy.signal import oaconvolve

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, ramp, within

SIZE = 4096  # of the transforms; long enough that the cepstrum does not wrap
TAPS = 1024
NODES = 15  # of the random curve, two an octave from 62.5 Hz to 8 kHz


class Params(Section):
    """Ranges: standard deviation of the response in dB, and the ends of the band in Hz (3 dB down, 12 dB an octave)."""

    ripple_db: Annotated[Range, within(0, 12)] = (1.0, 5.0)
    low_hz: Annotated[Range, within(20, 1000)] = (60.0, 300.0)
    high_hz: Annotated[Range, within(1500, 8000)] = (3500.0, 8000.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`ripple_db`, `low_hz`, `high_hz`."""
    return {
        "ripple_db": between(uniform("ripple_db"), params.ripple_db, digits=2),
        "low_hz": between(uniform("low_hz"), params.low_hz, digits=0),
        "high_hz": between(uniform("high_hz"), params.high_hz, digits=0),
    }


def magnitude(rng: Rng, ripple_db: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """(SIZE // 2 + 1,) the response in dB: a smooth random curve over log-frequency, and the roll-off at both ends."""
    hz = np.maximum(np.fft.rfftfreq(SIZE, 1.0 / RATE), 1.0)
    octave = np.clip(np.log2(hz / 62.5), 0.0, 7.0)
    ripple = CubicSpline(np.linspace(0.0, 7.0, NODES), ripple_db * rng.standard_normal(NODES))(octave)
    return np.asarray(ripple - 10.0 * np.log10(1.0 + (low_hz / hz) ** 4) - 10.0 * np.log10(1.0 + (hz / high_hz) ** 4))


def minimum_phase(decibels: NDArray[np.float64]) -> NDArray[np.float32]:
    """(TAPS,) the minimum-phase filter of a response, through the cepstrum (Oppenheim and Schafer, 1975): the least delay there is."""
    cepstrum = irfft(decibels * (np.log(10.0) / 20.0), SIZE)
    fold = np.zeros(SIZE)
    fold[[0, SIZE // 2]] = 1.0
    fold[1 : SIZE // 2] = 2.0
    taps = irfft(np.exp(rfft(cepstrum * fold)), SIZE)[:TAPS].astype(np.float32)
    fade = ramp(1000.0 * 64 / RATE)
    taps[-len(fade) :] *= fade[::-1]
    return taps


def apply(wave: Wave, rng: Rng, *, ripple_db: float, low_hz: float, high_hz: float) -> Wave:
    """(frames,) as the device passes it on."""
    taps = minimum_phase(magnitude(rng, ripple_db, low_hz, high_hz))
    return np.asarray(oaconvolve(wave, taps)[: len(wave)], dtype=np.float32)
