"""Gain: a level that jumps, as when a talker turns away, a cable is touched or a microphone is switched."""

from typing import Annotated

import numpy as np

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Count, Drawn, Range, Rng, Uniform, between, shares, whole, within

RAMP_S = 0.02


class Params(Section):
    """Ranges: a gain in dB that holds throughout, how many steps follow, and the size of a step in dB (below 0 is down)."""

    static_db: Annotated[Range, within(-40, 40)] = (0.0, 0.0)
    steps: Annotated[Count, within(0, 8)] = (1, 3)
    step_db: Annotated[Range, within(-30, 30)] = (-12.0, 12.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`static_db`, and for each step `at` (a share of the clip) and `steps_db`."""
    counts = whole(uniform("steps"), params.steps)
    return {
        "static_db": between(uniform("static_db"), params.static_db, digits=2),
        "at": shares(uniform, "at", counts),
        "steps_db": shares(uniform, "step_db", counts, params.step_db, digits=2),
    }


def apply(wave: Wave, rng: Rng, *, static_db: float, at: list[float], steps_db: list[float]) -> Wave:
    """(frames,) with a gain that changes by each step in dB within 20 ms around its time."""
    if not at:
        return wave * np.float32(10.0 ** (static_db / 20.0))
    seconds = np.arange(len(wave), dtype=np.float32) / np.float32(RATE)
    decibels = np.full(len(wave), static_db, np.float32)
    for share, step in zip(at, steps_db, strict=True):
        decibels += np.float32(step) * np.clip((seconds - np.float32(share * len(wave) / RATE)) / np.float32(RAMP_S) + np.float32(0.5), 0, 1)
    return wave * np.exp(decibels * np.float32(np.log(10.0) / 20.0))
