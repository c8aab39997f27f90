"""G.711 companding to 8 bits (ITU-T G.711): µ-law or A-law, at the full 16 kHz; `telephone` has the band as well."""

from typing import Literal

from pydantic import Field

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.codec import CODER, coded
from tasks.mix.corruptions.form import Drawn, Rng, Uniform, pick

Law = Literal["mu", "a"]
SUBTYPES: dict[Law, str] = {"mu": "ULAW", "a": "ALAW"}


class Params(Section):
    """Companding laws to choose from: `mu` (North America, Japan), `a` (elsewhere)."""

    law: tuple[Law, ...] = Field(("mu", "a"), min_length=1)


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`law`, and the coder that decides the bits."""
    law = pick(uniform("law"), params.law)
    return {"law": law, "coder": [CODER] * len(law)}


def apply(wave: Wave, rng: Rng, *, law: Law, coder: str) -> Wave:
    """(frames,) quantised to 8 bits a sample."""
    return coded(wave, "WAV", SUBTYPES[law], coder)
