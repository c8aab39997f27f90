"""A narrowband telephone call: 300-3400 Hz (ITU-T G.712), 8 kHz, G.711."""

from typing import Literal

from pydantic import Field

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.codec import CODER, coded
from tasks.mix.corruptions.filters import NARROW, band_taps, from_narrow, to_narrow
from tasks.mix.corruptions.form import Drawn, Rng, Uniform, pick
from tasks.mix.corruptions.mulaw import SUBTYPES, Law

BAND_HZ = (250.0, 3500.0)  # 6 dB down here; within 1 dB from 300 to 3400 Hz, more than 40 dB down at 100 and 3700 Hz


class Params(Section):
    """Companding laws to choose from: `mu`, `a`, or `none` for the band alone."""

    law: tuple[Literal["mu", "a", "none"], ...] = Field(("mu", "a"), min_length=1)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`law`, and the coder that decides the bits."""
    law = pick(uniform("law"), params.law)
    return {"law": law, "coder": [CODER] * len(law)}


def apply(wave: Wave, rng: Rng, *, law: Law | Literal["none"], coder: str) -> Wave:
    """(frames,) over the telephone. The band is filtered on the way in; the way out takes away the images."""
    taps = band_taps(*BAND_HZ)
    narrow = to_narrow(wave, taps)
    if law != "none":
        narrow = coded(narrow, "WAV", SUBTYPES[law], coder, rate=NARROW)
    return from_narrow(narrow, len(wave), taps)
