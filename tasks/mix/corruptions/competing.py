"""Competing speech: one other talker says one utterance, from the start or falling in later."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Uniform, between, within

POOL: Literal["speech"] = "speech"
NOISE_TYPE: None = None


class Params(Section):
    """A range of the interferer's onset, as a share of the target's clip."""

    onset: Annotated[Range, within(0, 0.9)] = (0.0, 0.3)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`count` (one talker) and `onset`."""
    onset = between(uniform("onset"), params.onset, digits=4)
    return {"count": [1] * len(onset), "onset": onset}


def mixdown(waves: Sequence[Wave], frames: int, *, count: int, onset: float) -> Wave:
    """(frames,) silence up to the onset, then the utterance; cut where the clip ends, and not said twice."""
    start = int(onset * frames)
    spoken = waves[0][: frames - start]
    total = np.zeros(frames, np.float32)
    total[start : start + len(spoken)] = spoken
    return total
