"""The decay of a shoebox in closed form: which absorption gives an RT60, and the tail after the last image that is enumerated.

Images lie evenly in space, and one at distance r in direction u was reflected r * sum(|u_i| / L_i) times. So the energy that arrives from
distance r is the mean over directions of exp(-a r sum(|u_i| / L_i)) / (4 pi V) a metre, with a = -ln(1 - absorption). Unlike Sabine's and
Eyring's formulas this knows that a flat room keeps what travels along it.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE
from tasks.common.seeds import rng_of
from tasks.rooms.image import SPEED, Tail

Numbers = NDArray[np.float64]
DIRECTIONS = 12  # squared, in one octant: twice as many move the RT60 by less than a thousandth
POINTS = 96  # distances at which a decay is fitted
FADE_S = 0.05  # from images to tail: slow against the high-pass
STEPS = 6  # of the fixed point: the last moves the absorption by less than a thousandth


@functools.cache
def _octant() -> tuple[Numbers, Numbers]:
    """(directions, 3) of Gauss and Legendre's nodes in the first octant, and their weights, which add up to one."""
    nodes, weights = np.polynomial.legendre.leggauss(DIRECTIONS)
    cosine, angle = (grid.ravel() for grid in np.meshgrid((nodes + 1) / 2, (nodes + 1) * np.pi / 4))
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine], axis=1), np.outer(weights, weights).ravel() / 4


@functools.cache
def _ways() -> Numbers:
    """(16,000, 3) directions all over the sphere, in no order; which of them an image takes is of no account, so all rooms share them."""
    ways = rng_of("rooms", "directions").standard_normal((RATE, 3))
    return np.asarray(ways / np.linalg.norm(ways, axis=1, keepdims=True))


def reflections(dims: Sequence[float]) -> Numbers:
    """(directions,) reflections a metre on the way from each direction."""
    return np.asarray(_octant()[0] @ (1.0 / np.asarray(dims, float)))


def predicted_rt60(dims: Sequence[float], distance: float, exponents: Numbers) -> float | None:
    """T30 (seconds) of a shoebox, measured `distance` metres from the source; None where the direct sound drowns the rest.

    `exponents` are -ln(1 - absorption), one or one an octave; an octave counts as the part of the band it fills.
    """
    often, weights = reflections(dims), _octant()[1]
    rates = np.outer(exponents, often).ravel()
    share = np.outer(octave_shares(len(exponents)), weights).ravel()
    farthest = distance + np.log(1e5) / (share @ rates) * 1.5
    while True:
        metres = np.linspace(distance, farthest, POINTS)
        left = np.exp(-np.outer(metres, rates)) @ (share / rates)
        direct = float(np.prod(dims)) / (4.0 * np.pi * distance**2)  # both times 4 pi V
        level = 10.0 * np.log10(left / (left[0] + direct))
        if level[-1] < -35.0:
            break
        farthest *= 1.5
    fitted = (level <= -5.0) & (level >= -35.0)
    if np.count_nonzero(fitted) < 3:
        return None
    return float(-60.0 / np.polyfit(metres[fitted], level[fitted], 1)[0] / SPEED)


def octave_shares(bands: int) -> Numbers:
    """Share of the band up to 8 kHz that each of the octaves fills, its neighbours' edges half way."""
    return np.ones(1) if bands == 1 else np.diff([0.0, *(125 * np.sqrt(2) * 2.0 ** np.arange(bands - 1)), 8000.0]) / 8000.0


def solved(dims: Sequence[float], distance: float, rt60_s: float, shape: Numbers) -> Numbers:
    """Exponents -ln(1 - absorption), in the proportions of `shape` (one an octave, or one), whose predicted T30 is `rt60_s`.

    A room too dry to have one gets what was reached so far; what is measured in it will tell.
    """
    often, weights = reflections(dims), _octant()[1]
    scale = np.log(1e6) / (SPEED * rt60_s * float(weights @ often))
    for _ in range(STEPS):
        rings = predicted_rt60(dims, distance, scale * shape)
        if rings is None:
            break
        scale *= rings / rt60_s
    return np.asarray(scale * shape)


def random_images(dims: Sequence[float], begin_s: float, end_s: float, exponents: Numbers, rng: np.random.Generator) -> Tail:
    """Images at random places that carry the energy of the lattice from `begin_s` (fading in) to `end_s`: one a sample, with a random sign.

    Their density stands for the lattice's, 4 pi r^2 / V a metre, so their level needs no matching. By then a sample is the sum of several
    images, of which only the energy is heard; a thousand random signs a second already sound as smooth as noise (Karjalainen and
    Jarvelainen 2007, velvet noise). They have places, so that the microphones of an array hear one sound field.
    """
    step, count = SPEED / RATE, int((end_s - begin_s) * RATE)
    draws = 2.0 * rng.random(count) - 1.0  # the sign of an image, and where in its sample it lies
    metres = SPEED * begin_s + step * (np.arange(count) + np.abs(draws))
    ways = np.resize(_ways(), (count, 3))
    often = metres * (np.abs(ways) @ (1.0 / np.asarray(dims, float)))
    rising = np.sin(np.pi / 2 * np.minimum(1.0, (metres / SPEED - begin_s) / FADE_S))
    level = np.sign(draws) * rising * np.sqrt(4.0 * np.pi * step / float(np.prod(dims)))
    gains = level * np.exp(-0.5 * np.outer(exponents, often))
    return Tail((ways * metres[:, None]).astype(np.float32), gains.astype(np.float32), begin_s, begin_s + FADE_S)
