"""The image source model of a shoebox (Allen and Berkley 1979), enumerated inside a sphere instead of up to an order.

Up to order N the lattice is a diamond that holds several times the images that arrive in time. Here a row of the lattice is one axis,
sorted by distance, so the images of a row within reach are a prefix. Each lands on the nearest point of a grid eight times as fine, and
one pass through the frequency domain with pyroomacoustics' 81-tap kernel brings the grid down to 16 kHz.
The compiled loop keeps IEEE arithmetic and the order of its additions, so the bits do not depend on threads.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave
from tasks.rooms.bands import octave_filters

SPEED = 343.0  # of sound, m/s
FINER = 8  # a delay is off by 1/256000 s at most
HALF = 40  # taps of the kernel on either side
OMNI = (1.0, (0.0, 0.0, 0.0))
Directivity = tuple[float, tuple[float, float, float]]  # p and the aim u of a gain p + (1 - p) cos(angle to u)
Single = NDArray[np.float32]


@dataclass(frozen=True)
class Tail:
    """Images that take over from the lattice: metres from the first microphone (images, 3), and amplitudes (bands, images) where they arrive.

    The lattice fades out between `begin_s` and `end_s`. Its reflections are all positive and have a mean, of which a sharp end would be a click.
    """

    metres: Single
    gains: Single
    begin_s: float
    end_s: float


@njit(cache=True)
def _scatter(  # type: ignore[no-untyped-def]
    x: Single, y: Single, z: Single, gx: Single, gy: Single, gz: Single, reach, scale, share, aim: Single, grid: Single
) -> None:
    """Add every image within reach to the grid (bands, points); axes are sorted by distance, gains are (bands, images)."""
    z2, limit = z * z, reach * reach
    toward = aim[2] * z
    place, spread = np.empty(len(z), np.int32), np.empty(len(z), np.float32)
    one, half = np.float32(1.0), np.float32(0.5)
    for i in range(len(x)):
        for j in range(len(y)):
            base = x[i] * x[i] + y[j] * y[j]
            if base > limit:
                break
            count = np.searchsorted(z2, limit - base, side="right")
            along = aim[0] * x[i] + aim[1] * y[j]
            for k in range(count):  # apart from the sums, so that the compiler can take eight images at once
                distance = np.sqrt(base + z2[k])
                nearness = one / distance
                place[k] = np.int32(distance * scale + half)
                spread[k] = nearness * (share + (along + toward[k]) * nearness)
            for band in range(len(grid)):
                gain = gx[band, i] * gy[band, j]
                for k in range(count):
                    grid[band, place[k]] += gain * gz[band, k] * spread[k]


@njit(cache=True)
def _scatter_tail(metres: Single, gains: Single, scale, share, aim: Single, grid: Single) -> None:  # type: ignore[no-untyped-def]
    """Add the images of a tail to the grid (bands, points); those that would come after its end are left out."""
    for k in range(len(metres)):
        x, y, z = metres[k]
        distance = np.sqrt(x * x + y * y + z * z)
        place = np.int32(distance * scale + np.float32(0.5))
        if place < grid.shape[1]:
            seen = share + (aim[0] * x + aim[1] * y + aim[2] * z) / distance
            for band in range(len(grid)):
                grid[band, place] += gains[band, k] * seen


def axis_images(side: float, source: float, microphone: float, reach: float) -> tuple[Single, NDArray[np.int64]]:
    """Signed distances along one axis (metres) of the images within `reach`, nearest first, and how often each was reflected."""
    count = int(np.ceil(reach / side)) + 1
    order = np.arange(-count, count + 1)
    offset = np.where(order % 2 == 0, order * side + source, (order + 1) * side - source) - microphone
    nearest = np.argsort(np.abs(offset), kind="stable")
    nearest = nearest[np.abs(offset[nearest]) <= reach]
    return offset[nearest].astype(np.float32), np.abs(order)[nearest]


@functools.lru_cache(16)
def _kernel(points: int) -> NDArray[np.complex64]:
    """(bins, FINER) spectra of the 81-tap Hann-windowed sinc as each phase of the fine grid sees it, for `points` at 16 kHz."""
    taps = np.arange(-HALF * FINER, HALF * FINER + 1)
    phase = -taps % FINER
    phases = np.zeros((points, FINER))
    phases[(taps + phase) // FINER, phase] = np.sinc(taps / FINER) * np.hanning(len(taps)) / (4.0 * np.pi)
    return np.asarray(scipy.fft.rfft(phases, axis=0), dtype=np.complex64)


def _fine_grid(bands: int, frames: int) -> Single:
    """Zeros (bands, points) for `frames` at 16 kHz and the rise of the kernel; few lengths, so that few kernels are ever made."""
    points = scipy.fft.next_fast_len(-(-(frames + 2 * HALF) // 2048) * 2048, real=True)
    return np.zeros((bands, points * FINER), np.float32)


def _brought_down(grid: Single, frames: int) -> Wave:
    """(frames,) at 16 kHz from a grid (bands, points), the octave bands weighted by their filters.

    The phases of the grid are transformed side by side, three times as fast as the grid at once.
    """
    points = grid.shape[1] // FINER
    phases = scipy.fft.rfft(grid.reshape(len(grid), points, FINER), axis=1)
    spectrum = np.einsum("bfp,fp->bf", phases, _kernel(points))
    together = spectrum[0] if len(grid) == 1 else np.einsum("bf,bf->f", spectrum, octave_filters(points))
    return np.asarray(scipy.fft.irfft(together, points)[:frames], dtype=np.float32)


def image_sources(
    dims: Sequence[float],
    source: Sequence[float],
    microphone: Sequence[float],
    absorption: float | Sequence[float],
    seconds: float,
    directivity: Directivity = OMNI,
    tail: Tail | None = None,
    apart: Sequence[float] = (0.0, 0.0, 0.0),
) -> Wave:
    """(frames,) response at 16 kHz of walls that all absorb the same share of energy.

    Args:
        dims, source, microphone: metres.
        absorption: share of energy a wall absorbs, in (0, 1); one, or one for each octave of `bands.py`.
        seconds: how long the response is.
        directivity: of the microphone; each image is weighted by the direction it arrives from.
        tail: images that stand for the later part of the lattice; without it the lattice is complete up to `seconds`.
        apart: metres from the array's first microphone to this one.
    """
    scale = np.float32(FINER * RATE / SPEED)
    reach = SPEED * (seconds if tail is None else tail.end_s)
    reflection = np.sqrt(1.0 - np.atleast_1d(absorption))[:, None]
    axes = [axis_images(*axis, reach) for axis in zip(dims, source, microphone, strict=True)]
    gains = [np.asarray(reflection**times, dtype=np.float32) for _, times in axes]
    frames = int(seconds * RATE)
    grid = _fine_grid(len(reflection), frames)
    share, aim = np.float32(directivity[0]), np.asarray(directivity[1], np.float32) * np.float32(1.0 - directivity[0])
    _scatter(*(offset for offset, _ in axes), *gains, np.float32(reach), scale, share, aim, grid)
    if tail is not None:
        begin, end = int(tail.begin_s * FINER * RATE), int(tail.end_s * FINER * RATE) + 2
        grid[:, begin:end] *= np.cos(np.linspace(0.0, np.pi / 2, end - begin, dtype=np.float32))
        _scatter_tail(tail.metres - np.asarray(apart, np.float32), tail.gains, scale, share, aim, grid)
    return _brought_down(grid, frames)
