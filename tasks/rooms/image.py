"""The image source model of a shoebox (Allen and Berkley 1979), enumerated inside a sphere instead of up to an order.

Up to order N the lattice is a diamond that holds several times the images that arrive in time. Here the images within reach are
found slice by slice: one axis times the plane of the two others, sorted by radius, so a slice is a prefix. Each image lands on the
nearest point of a grid eight times as fine, and one pass of pyroomacoustics' 81-tap kernel brings the grid down to 16 kHz.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import upfirdn

from tasks.common.audio import RATE, Wave

SPEED = 343.0  # of sound, m/s
FINER = 8  # a delay is off by 1/256000 s at most
HALF = 40  # taps of the kernel on either side


def axis_images(side: float, source: float, microphone: float, reach: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Signed distances along one axis (metres) of the images within `reach`, and how often each was reflected."""
    count = int(np.ceil(reach / side)) + 1
    order = np.arange(-count, count + 1)
    position = np.where(order % 2 == 0, order * side + source, (order + 1) * side - source)
    near = np.abs(position - microphone) <= reach
    return (position - microphone)[near], np.abs(order)[near]


def image_sources(dims: Sequence[float], source: Sequence[float], microphone: Sequence[float], absorption: float, seconds: float) -> Wave:
    """(frames,) response at 16 kHz of walls that all absorb the same share of energy, complete up to `seconds`.

    Args:
        dims, source, microphone: metres.
        absorption: share of energy a wall absorbs, in (0, 1).
        seconds: how long the response is.
    """
    reach = SPEED * seconds
    (x, nx), (y, ny), (z, nz) = (axis_images(*axis, reach) for axis in zip(dims, source, microphone, strict=True))
    reflection = np.sqrt(1.0 - absorption)
    plane = np.add.outer(y**2, z**2).ravel()
    order = np.argsort(plane, kind="stable")
    order = order[plane[order] <= reach**2]
    plane, gain = plane[order], np.multiply.outer(reflection**ny, reflection**nz).ravel()[order]

    scale = FINER * RATE / SPEED
    grid = np.zeros(int(reach * scale) + 2)
    for along, times in zip(x, nx, strict=True):
        inside = int(np.searchsorted(plane, reach**2 - along**2, side="right"))
        if inside:
            distance = np.sqrt(plane[:inside] + along**2)
            place = (distance * scale + 0.5).astype(np.int64)
            first, last = place[0], place[-1] + 1  # the plane is sorted, so is the slice
            grid[first:last] += np.bincount(place - first, gain[:inside] / distance) * reflection**times
    grid /= 4.0 * np.pi
    taps = np.arange(-HALF * FINER, HALF * FINER + 1) / FINER
    kernel = np.sinc(taps) * np.hanning(len(taps))
    return np.asarray(upfirdn(kernel, grid, 1, FINER)[HALF : HALF + int(seconds * RATE)], dtype=np.float32)
