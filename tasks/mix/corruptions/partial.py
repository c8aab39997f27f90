"""Noise on part of the clip only: a lorry that passes, a door that opens."""

from typing import Annotated

import numpy as np

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, ramp, within

FADE_MS = 20.0


class Params(Section):
    """A range of the share of the clip that has the noise; where it starts is drawn too."""

    share: Annotated[Range, within(0.01, 1)] = (0.2, 0.7)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`share`, and `start` as a share of the possible starts."""
    return {"share": between(uniform("share"), params.share, digits=4), "start": between(uniform("start"), (0.0, 1.0), digits=4)}


def gain(frames: int, rng: Rng, *, share: float, start: float) -> Wave:
    """(frames,) one for `share` of the clip, with 20 ms fades inside of it, zero elsewhere."""
    length = min(frames, max(1, round(share * frames)))
    first = round(start * (frames - length))
    gains = np.zeros(frames, np.float32)
    inside = gains[first : first + length]
    inside[:] = 1.0
    fade = ramp(FADE_MS)[:length]
    inside[: len(fade)] *= fade
    inside[length - len(fade) :] *= fade[::-1]
    return gains
