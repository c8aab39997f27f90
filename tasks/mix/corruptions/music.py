"""Music in the background: a clip of noise type `music`, looped with cross-fades where it is too short."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Uniform, between, stretch, within

POOL: Literal["noise"] = "noise"
NOISE_TYPE: Literal["music"] = "music"


class Params(Section):
    """A range of the cross-fade in s."""

    fade_s: Annotated[Range, within(0, 10)] = (0.5, 1.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`count` (none besides the clip that owns the mixture), `offset` and `fade_s`."""
    fade_s = between(uniform("fade_s"), params.fade_s, digits=2)
    return {"count": [0] * len(fade_s), "offset": between(uniform("offset"), (0.0, 1.0), digits=6), "fade_s": fade_s}


def looped(wave: Wave, fade: int) -> Wave:
    """(len(wave) - fade,) a loop whose end runs into its start: the last `fade` samples are laid under the first, at equal power."""
    angle = (np.arange(fade, dtype=np.float32) + np.float32(0.5)) * np.float32(np.pi / 2 / max(fade, 1))
    loop = wave[: len(wave) - fade].copy()
    loop[:fade] = wave[:fade] * np.sin(angle) + wave[len(wave) - fade :] * np.cos(angle)
    return loop


def mixdown(waves: Sequence[Wave], frames: int, *, count: int, offset: float, fade_s: float) -> Wave:
    """(frames,) of the music; a clip long enough is not touched, and a fade takes at most half of the clip."""
    music = waves[0]
    if len(music) < frames:
        music = looped(music, min(round(fade_s * RATE), len(music) // 2))
    return stretch(music, frames, offset)
