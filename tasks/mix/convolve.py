"""Convolution with a response whose spectrum is kept: overlap-save in blocks that the FFT does four at a time.

scipy's FFT works in float32 and, for equal lengths, on four rows at once; so the signal is cut into a multiple of four
blocks of a length made of small primes. docs/speed.md compares it with pyfftw, torchaudio and scipy's own convolutions.
"""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from tasks.common.audio import Wave

ROWS = 4  # float32 transforms that fill one SIMD register
# Block lengths are one of these times a power of two: no prime above 5, so the transforms are quick, and few lengths, so a spectrum is met again.
MANTISSAS = (128, 135, 144, 150, 160, 180, 192, 200, 216, 225, 240, 256)
Spectrum = NDArray[np.complex64]


def blocks(frames: int, taps: int) -> tuple[int, int]:
    """Number and length of the overlapping blocks for a signal of `frames` and a response of `taps` samples."""
    advance = max(3 * taps, 2048)
    number = ROWS * max(1, -(-frames // (ROWS * advance)))
    needed = -(-frames // number) + taps - 1
    power = 1 << max(0, needed.bit_length() - 8)
    return number, next(mantissa * power for mantissa in MANTISSAS if mantissa * power >= needed)


def spectrum(response: Wave, length: int) -> Spectrum:
    """(length // 2 + 1,) complex64 of a response (taps,) in a block of `length` samples."""
    return np.asarray(rfft(response, length), dtype=np.complex64)


def convolved(signal: Wave, response: Wave, start: int, spectrum_of: Callable[[Wave, int], Spectrum] = spectrum) -> Wave:
    """Samples (frames,) of the full convolution from `start`, 0 <= start < taps, by overlap-save (Oppenheim and Schafer, section 8.7)."""
    frames, taps = len(signal), len(response)
    number, length = blocks(frames, taps)
    advance = length - taps + 1
    padded = np.zeros(number * advance + taps - 1, dtype=np.float32)
    lead = taps - 1 - start
    kept = min(frames, len(padded) - lead)
    padded[lead : lead + kept] = signal[:kept]
    spectra = rfft(sliding_window_view(padded, length)[::advance], axis=1)
    spectra *= spectrum_of(response, length)
    return np.asarray(irfft(spectra, length, axis=1, overwrite_x=True)[:, taps - 1 :].reshape(-1)[:frames])
