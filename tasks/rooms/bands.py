"""Octave bands: the filters that absorption by octave is rendered with, and the RT60 measured in each."""

import functools

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from pyroomacoustics.acoustics import cosine_magnitude_octave_filter_response

from tasks.common.audio import RATE, Wave
from tasks.rooms.measure import measure

OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)  # the lowest reaches down to 0 Hz, the highest is cut by 8 kHz


@functools.lru_cache(16)
def octave_filters(points: int) -> NDArray[np.float32]:
    """(bands, bins) magnitudes at 16 kHz of pyroomacoustics' zero-phase octave filters, which add up to one."""
    response, *_ = cosine_magnitude_octave_filter_response(points, np.array(OCTAVES_HZ, float), RATE, keep_dc=True)
    return np.asarray(response, dtype=np.float32)


def rt60_by_octave(rir: Wave) -> list[float | None]:
    """RT60 of a response (frames,) as `aligned` gives it, in each of `OCTAVES_HZ`; None where the decay is too short or too bent."""
    points = scipy.fft.next_fast_len(2 * len(rir), real=True)
    bands = scipy.fft.irfft(scipy.fft.rfft(rir, points) * octave_filters(points), points)[:, : len(rir)]
    return [measure(band).rt60_s for band in bands]
