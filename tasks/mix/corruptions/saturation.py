"""Soft saturation: amplifier, tape or small loudspeaker driven into its bend, with oversampling so that no harmonics fold back."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.signal import resample_poly

from tasks.common.audio import Wave, active_power
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, pick, within

OVERSAMPLING = 4
Curve = Literal["tanh", "arctan"]


class Params(Section):
    """A range of the drive in dB (level of active speech over the bend of the curve), and curves to choose from."""

    drive_db: Annotated[Range, within(-20, 40)] = (0.0, 12.0)
    curve: tuple[Curve, ...] = Field(("tanh", "arctan"), min_length=1)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`drive_db`, `curve`."""
    return {"drive_db": between(uniform("drive_db"), params.drive_db, digits=2), "curve": pick(uniform("curve"), params.curve)}


def bent(samples: NDArray[np.float32], curve: Curve) -> NDArray[np.float32]:
    """The curve: slope 1 at zero, bounded by 1."""
    if curve == "tanh":
        return np.tanh(samples)
    return np.arctan(samples * np.float32(np.pi / 2)) * np.float32(2 / np.pi)


def apply(wave: Wave, rng: Rng, *, drive_db: float, curve: Curve) -> Wave:
    """(frames,) through the curve at 64 kHz, band-limited on both ways; quiet passages keep their level."""
    power = active_power(wave)
    if power <= 0.0:
        return wave
    drive = np.float32(10.0 ** (drive_db / 20.0) / power**0.5)
    fine = resample_poly(wave * drive, OVERSAMPLING, 1).astype(np.float32)
    return np.asarray(resample_poly(bent(fine, curve), 1, OVERSAMPLING) / drive, dtype=np.float32)
