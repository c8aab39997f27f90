"""GSM 06.10 full rate (ETSI EN 300 961): 13 kbit/s at 8 kHz, by libgsm inside libsndfile."""

from tasks.common.audio import Wave
from tasks.common.params import Section
from tasks.mix.corruptions.codec import CODER, coded
from tasks.mix.corruptions.filters import BELOW_4K, NARROW, band_taps, from_narrow, to_narrow
from tasks.mix.corruptions.form import Drawn, Rng, Uniform


class Params(Section):
    """Nothing to choose: the codec has one bit rate."""


def draw(params: Params, uniform: Uniform) -> Drawn:
    """The coder that decides the bits."""
    return {"coder": [CODER] * len(uniform("coder"))}


def apply(wave: Wave, rng: Rng, *, coder: str) -> Wave:
    """(frames,) through 8 kHz and GSM full rate."""
    taps = band_taps(*BELOW_4K)
    narrow = to_narrow(wave, taps)
    # The file is filled up to a whole block of 320 samples.
    return from_narrow(coded(narrow, "WAV", "GSM610", coder, rate=NARROW)[: len(narrow)], len(wave), taps)
