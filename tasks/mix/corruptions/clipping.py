"""Hard clipping: an overdriven input stage cuts off the loudest samples."""

from typing import Annotated

import numpy as np

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, within


class Params(Section):
    """A range of the share of samples that clip."""

    share: Annotated[Range, within(0, 0.9)] = (0.001, 0.1)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`share`."""
    return {"share": between(uniform("share"), params.share, digits=5)}


def apply(wave: Wave, rng: Rng, *, share: float) -> Wave:
    """(frames,) cut at the magnitude that `share` of the samples exceed."""
    over = int(share * len(wave))
    if over == 0:
        return wave
    magnitude = np.abs(wave)
    threshold = np.partition(magnitude, len(wave) - over - 1)[len(wave) - over - 1]
    return np.clip(wave, -threshold, threshold)
