"""Band limits: what lies below one and above another cut-off is gone, as with cheap microphones, radio and old recordings."""

from typing import Annotated

from pydantic import model_validator

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.filters import band_taps, filtered
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, within


class Params(Section):
    """Ranges of the cut-offs in Hz (6 dB down); `low_hz: [0, 0]` or `high_hz: [8000, 8000]` leaves that side open."""

    low_hz: Annotated[Range, within(0, 2000)] = (50.0, 300.0)
    high_hz: Annotated[Range, within(500, 8000)] = (2500.0, 7000.0)

    @model_validator(mode="after")
    def _order(self) -> "Params":
        if self.low_hz[1] + 200 > self.high_hz[0]:
            raise ValueError(f"the cut-offs meet: low_hz goes up to {self.low_hz[1]:g} and high_hz starts at {self.high_hz[0]:g}; leave 200 Hz")
        return self


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`low_hz`, `high_hz`."""
    return {"low_hz": between(uniform("low_hz"), params.low_hz, digits=0), "high_hz": between(uniform("high_hz"), params.high_hz, digits=0)}


def apply(wave: Wave, rng: Rng, *, low_hz: float, high_hz: float) -> Wave:
    """(frames,) between the cut-offs; 46 dB down from 65 Hz outside of them."""
    return filtered(wave, band_taps(low_hz, high_hz))
