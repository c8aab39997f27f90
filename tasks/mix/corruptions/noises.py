"""Several noises at once: the clip that owns the mixture, and further ones below or above it."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Count, Drawn, Range, Uniform, shares, stretch, whole, within

POOL: Literal["noise"] = "noise"
NOISE_TYPE: None = None


class Params(Section):
    """Ranges: how many noises besides the first, and their level against it in dB."""

    count: Annotated[Count, within(1, 7)] = (1, 2)
    level_db: Annotated[Range, within(-30, 30)] = (-10.0, 0.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`count`, `levels_db` of the further noises, `offsets` of all of them (the first one's first)."""
    count = whole(uniform("count"), params.count)
    return {
        "count": count,
        "levels_db": shares(uniform, "level", count, params.level_db, digits=2),
        "offsets": shares(uniform, "offset", [number + 1 for number in count]),
    }


def mixdown(waves: Sequence[Wave], frames: int, *, count: int, levels_db: list[float], offsets: list[float]) -> Wave:
    """(frames,) the sum. Each noise has power 1 over its stretch before its level; a silent one adds nothing."""
    total = np.zeros(frames, np.float32)
    for wave, level, offset in zip(waves, [0.0, *levels_db], offsets, strict=False):
        piece = stretch(wave, frames, offset)
        power = float(np.mean(np.square(piece, dtype=np.float64)))
        if power > 0.0:
            total += piece * np.float32(10.0 ** (level / 20.0) / power**0.5)
    return total
