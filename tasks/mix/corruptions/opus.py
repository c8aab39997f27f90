"""Opus (RFC 6716) at 16 kHz, variable bit rate, by libopus inside libsndfile."""

from typing import Annotated

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.codec import CODER, coded
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, within


class Params(Section):
    """A range of bit rates in kbit/s."""

    kbps: Annotated[Range, within(6, 256)] = (6.0, 32.0)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`kbps`, and the coder that decides the bits."""
    kbps = between(uniform("kbps"), params.kbps, digits=1)
    return {"kbps": kbps, "coder": [CODER] * len(kbps)}


def apply(wave: Wave, rng: Rng, *, kbps: float, coder: str) -> Wave:
    """(frames,) through Opus. libsndfile's compression level runs evenly from 256 down to 6 kbit/s; the container notes the delay."""
    return coded(wave, "OGG", "OPUS", coder, compression=min((256.0 - kbps) / 250.0, 0.999))[: len(wave)]
