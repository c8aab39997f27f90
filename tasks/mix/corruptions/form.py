"""The form of a corruption: what a module of this package holds, and the draws they share.

Each module is one corruption. Its `Params` says what a curriculum file may ask (ranges and lists to choose from), its `draw` turns uniform
numbers into the values of every row, and one function does the work: `apply` of an effect, `gain` of an envelope, `mixdown` of a source.
What is drawn is JSON (it is part of the recipe), and together with the generator handed over it decides every sample.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section

Rng = np.random.Generator
Uniform = Callable[[str], NDArray[np.float64]]  # a name to (n,) numbers in [0, 1), one a row; other names, other numbers
Drawn = dict[str, list[Any]]  # a keyword of the work function to its (n,) JSON values
Range = tuple[float, float]
Count = tuple[int, int]
T = TypeVar("T")
R = TypeVar("R", Range, Count)


class Corruption(Protocol):
    """What every module has."""

    @property
    def Params(self) -> type[Section]: ...  # noqa: N802, a class of the module

    def draw(self, params: Any, uniform: Uniform) -> Drawn: ...


class Effect(Corruption, Protocol):
    """Changes the mixture: (frames,) at 16 kHz to as many finite samples, aligned in time with the input. Silence stays silence, and the
    result scales with the input, because the level is set after the effects."""

    def apply(self, wave: Wave, rng: Rng, *args: Any, **drawn: Any) -> Wave: ...


class Envelope(Corruption, Protocol):
    """Shapes the added sound in time: (frames,) gains that multiply it before it is brought to its SNR."""

    def gain(self, frames: int, rng: Rng, *args: Any, **drawn: Any) -> Wave: ...


class Source(Corruption, Protocol):
    """Makes the added sound out of clips: (frames,) at any level, before it is shaped and brought to its SNR.

    `POOL` says which clips: with "noise", the noise clip that owns the mixture comes first and `count` further ones follow; with "speech",
    there are `count` utterances of speakers other than the target's. `NOISE_TYPE`, where not None, is the only noise type it takes.
    `draw` always gives `count`. Where the pool holds fewer clips than that, `mixdown` works with those there are, one at least.
    """

    @property
    def POOL(self) -> Literal["noise", "speech"]: ...  # noqa: N802, a constant of the module

    @property
    def NOISE_TYPE(self) -> str | None: ...  # noqa: N802

    def mixdown(self, waves: Sequence[Wave], frames: int, *args: Any, **drawn: Any) -> Wave: ...


def within(low: float, high: float) -> AfterValidator:
    """A range (smaller, larger) whose ends lie in [low, high]."""

    def check(value: R) -> R:
        if not low <= value[0] <= value[1] <= high:
            raise ValueError(f"a range runs from a lower to a higher value, from {low:g} to {high:g} at most")
        return value

    return AfterValidator(check)


def between(uniform: NDArray[np.float64], limits: Range, digits: int = 3) -> list[float]:
    """(n,) values spread evenly over a range, rounded so that they read well in a recipe."""
    low, high = limits
    return [float(value) for value in np.round(low + (high - low) * uniform, digits)]


def whole(uniform: NDArray[np.float64], limits: Count) -> list[int]:
    """(n,) whole numbers from a range, both ends included, each as likely."""
    low, high = limits
    return [int(value) for value in low + np.floor((high - low + 1) * uniform)]


def pick(uniform: NDArray[np.float64], values: Sequence[T]) -> list[T]:
    """(n,) values of a list, each as likely."""
    return [values[int(index)] for index in len(values) * uniform]


def shares(uniform: Uniform, name: str, counts: Sequence[int], limits: Range = (0.0, 1.0), digits: int = 6) -> list[list[float]]:
    """A list a row, of as many values from the range as `counts` says."""
    table = [between(uniform(f"{name}{index}"), limits, digits) for index in range(max(counts, default=0))]
    return [[column[row] for column in table[:count]] for row, count in enumerate(counts)]


def stretch(wave: Wave, frames: int, offset: float) -> Wave:
    """`frames` samples of a clip from `offset`, a share of its possible starts; a shorter clip is looped."""
    if len(wave) < frames:
        return np.take(wave, np.arange(frames) + int(offset * len(wave)), mode="wrap")
    return wave[int(offset * (len(wave) - frames + 1)) :][:frames]


def ramp(ms: float) -> Wave:
    """A raised-cosine fade from 0 to 1, (frames,) float32."""
    frames = max(1, round(ms * RATE / 1000))
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(frames) + 0.5) / frames)).astype(np.float32)
