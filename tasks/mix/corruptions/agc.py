"""Automatic gain control that pumps: the gain falls fast when somebody speaks and creeps up in the pauses, where the noise swells."""

from typing import Annotated

import numpy as np

from tasks.common.audio import RATE, Wave, active_power
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, within

BLOCK = RATE // 200  # the level is measured every 5 ms
FLOOR_DB = -100.0


class Params(Section):
    """Ranges: time constants of falling and rising gain in ms, and how far the gain goes in dB, up or down."""

    attack_ms: Annotated[Range, within(1, 500)] = (5.0, 50.0)
    release_ms: Annotated[Range, within(10, 5000)] = (100.0, 1000.0)
    max_gain_db: Annotated[Range, within(0, 40)] = (12.0, 30.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`attack_ms`, `release_ms`, `max_gain_db`."""
    return {
        "attack_ms": between(uniform("attack_ms"), params.attack_ms, digits=1),
        "release_ms": between(uniform("release_ms"), params.release_ms, digits=1),
        "max_gain_db": between(uniform("max_gain_db"), params.max_gain_db, digits=1),
    }


def apply(wave: Wave, rng: Rng, *, attack_ms: float, release_ms: float, max_gain_db: float) -> Wave:
    """(frames,) with the gain that brings a one-pole level (in dB, fast up, slow down) to that of the clip's own active speech."""
    target = active_power(wave)
    if target <= 0.0:
        return wave
    blocks = -(-len(wave) // BLOCK)
    power = np.square(np.pad(wave, (0, blocks * BLOCK - len(wave))).reshape(blocks, BLOCK)).mean(axis=1, dtype=np.float64)
    over = np.maximum(10.0 * np.log10(np.maximum(power / target, 1e-30)), FLOOR_DB)
    rise, fall = (1.0 - np.exp(-1000.0 * BLOCK / RATE / ms) for ms in (attack_ms, release_ms))
    level, levels = 0.0, []
    for now in over.tolist():  # each level hangs on the one before, by one of two constants
        level += (rise if now > level else fall) * (now - level)
        level = min(max(level, -max_gain_db), max_gain_db)
        levels.append(level)
    gain = 10.0 ** (-np.array(levels) / 20.0)
    centres = (np.arange(blocks) + 0.5) * BLOCK
    return wave * np.interp(np.arange(len(wave)), centres, gain).astype(np.float32)
