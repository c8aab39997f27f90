"""MP3: MPEG-2 Layer III at 16 kHz, constant bit rate, by LAME and mpg123 inside libsndfile."""

from typing import Literal

from pydantic import Field

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.codec import CODER, coded
from tasks.mix.corruptions.form import Drawn, Rng, Uniform, pick

DELAY = 576 + 529  # of LAME's encoder and of any Layer III decoder, in samples


class Params(Section):
    """Bit rates in kbit/s to choose from; all that Layer III has at 16 kHz."""

    kbps: tuple[Literal[8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], ...] = Field((16, 24, 32, 48, 64), min_length=1)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`kbps`, and the coder that decides the bits."""
    kbps = pick(uniform("kbps"), params.kbps)
    return {"kbps": kbps, "coder": [CODER] * len(kbps)}


def apply(wave: Wave, rng: Rng, *, kbps: int, coder: str) -> Wave:
    """(frames,) through MP3. libsndfile's compression level runs evenly from 160 down to 8 kbit/s."""
    compression = min((160 - kbps) / 152, 0.999)
    decoded = coded(wave, "MP3", "MPEG_LAYER_III", coder, compression=compression, bitrate_mode="CONSTANT")
    # Up to 32 kbit/s a frame is too small for the tag in which LAME notes its delay, so the decoder cannot take it away.
    start = DELAY if len(decoded) > len(wave) else 0
    return decoded[start : start + len(wave)]
