"""Babble: several other people talk at once, each as loud as the next."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from tasks.common.audio import Wave, active_power
from tasks.common.params import Section
from tasks.mix.corruptions.form import Count, Drawn, Uniform, shares, stretch, whole, within

POOL: Literal["speech"] = "speech"
NOISE_TYPE: None = None


class Params(Section):
    """A range of how many talk."""

    count: Annotated[Count, within(2, 64)] = (4, 8)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`count` of voices and the `offsets` at which each utterance is entered."""
    count = whole(uniform("count"), params.count)
    return {"count": count, "offsets": shares(uniform, "offset", count, digits=4)}


def mixdown(waves: Sequence[Wave], frames: int, *, count: int, offsets: list[float]) -> Wave:
    """(frames,) the sum of the voices, each with power 1 over its active speech and said again where it is too short."""
    total = np.zeros(frames, np.float32)
    for wave, offset in zip(waves, offsets, strict=False):
        power = active_power(wave)
        if power > 0.0:
            total += stretch(wave, frames, offset) * np.float32(power**-0.5)
    return total
