"""Time-varying SNR: the added sound comes and goes by a smooth random walk within a few dB of its mean."""

from typing import Annotated

import numpy as np

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, within

GRID = 16  # the gain is worked out every millisecond, and drawn straight in between


class Params(Section):
    """Ranges: how far the walk goes to either side in dB, and the time of a step in s."""

    depth_db: Annotated[Range, within(0, 30)] = (5.0, 10.0)
    step_s: Annotated[Range, within(0.1, 10)] = (0.5, 2.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`depth_db`, `step_s`."""
    return {"depth_db": between(uniform("depth_db"), params.depth_db, digits=2), "step_s": between(uniform("step_s"), params.step_s, digits=2)}


def walk(rng: Rng, steps: int, depth_db: float) -> list[float]:
    """`steps` values within +-`depth_db`: a uniform start, then steps of half that depth (standard deviation), reflected at the bounds."""
    values = [depth_db * rng.uniform(-1.0, 1.0)]
    for step in (0.5 * depth_db * rng.standard_normal(steps - 1)).tolist():
        folded = (values[-1] + step + depth_db) % (4.0 * depth_db) if depth_db else 0.0
        values.append(min(folded, 4.0 * depth_db - folded) - depth_db)
    return values


def gain(frames: int, rng: Rng, *, depth_db: float, step_s: float) -> Wave:
    """(frames,) gains between -`depth_db` and +`depth_db`, by half a cosine from step to step."""
    times = np.arange(0, frames + GRID, GRID) / (RATE * step_s)
    steps = np.array(walk(rng, int(times[-1]) + 2, depth_db))
    at = times.astype(int)
    decibels = steps[at] + (steps[at + 1] - steps[at]) * (0.5 - 0.5 * np.cos(np.pi * (times - at)))
    return np.interp(np.arange(frames), np.arange(len(times)) * GRID, 10.0 ** (decibels / 20.0)).astype(np.float32)
