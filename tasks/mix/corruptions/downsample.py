"""A lower sampling rate on the way: the upper band is lost, or folded back where the converter has no anti-aliasing filter."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.mix.corruptions.filters import band_taps, filtered
from tasks.mix.corruptions.form import Drawn, Rng, Uniform, pick

PASSED = 0.46  # of the lower rate; the filter is 46 dB down from 65 Hz above this, short of the Nyquist frequency


class Params(Section):
    """Sampling rates in Hz and ways of conversion to choose from: `sinc` filters properly, `linear` only interpolates, and aliases."""

    rate_hz: tuple[Annotated[int, Field(ge=4000, lt=16_000)], ...] = Field((8000, 11_025), min_length=1)
    conversion: tuple[Literal["sinc", "linear"], ...] = Field(("sinc", "linear"), min_length=1)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`rate_hz`, `conversion`."""
    return {"rate_hz": pick(uniform("rate_hz"), params.rate_hz), "conversion": pick(uniform("conversion"), params.conversion)}


def apply(wave: Wave, rng: Rng, *, rate_hz: int, conversion: Literal["sinc", "linear"]) -> Wave:
    """(frames,) to `rate_hz` and back. With good filters both ways, a low-pass is all that remains of it, so that is what is done."""
    if conversion == "sinc":
        return filtered(wave, band_taps(0.0, PASSED * rate_hz))
    times = np.arange(len(wave)) / RATE
    coarse = np.arange(0.0, len(wave) / RATE + 1.0 / rate_hz, 1.0 / rate_hz)
    return np.interp(times, coarse, np.interp(coarse, times, wave)).astype(np.float32)
