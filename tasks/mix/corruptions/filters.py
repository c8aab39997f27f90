"""Linear-phase filters, centred so that they delay nothing, and the way to 8 kHz and back that the telephone codecs share.

One overlap-add convolution filters 10 s in about 1 ms; it took the place of scipy's polyphase and torchaudio's resamplers by measurement
(docs/corruptions/README.md).
"""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, oaconvolve

from tasks.common.audio import RATE, Wave

NARROW = RATE // 2  # 8 kHz, the rate of the telephone network
BELOW_4K = (0.0, 3700.0)


@functools.lru_cache(maxsize=64)
def band_taps(low_hz: float, high_hz: float, taps: int = 401) -> NDArray[np.float32]:
    """Hamming-windowed band-pass at 16 kHz, 6 dB down at its edges, 46 dB down 65 Hz further (401 taps); 0 or 8000 Hz leaves that side open."""
    edges = [edge for edge in (low_hz, high_hz) if 0.0 < edge < RATE / 2]
    if not edges:
        impulse = np.zeros(taps, np.float32)
        impulse[taps // 2] = 1.0
        return impulse
    return np.asarray(firwin(taps, edges, pass_zero=low_hz <= 0.0, fs=RATE), dtype=np.float32)


def filtered(wave: Wave, taps: NDArray[np.float32]) -> Wave:
    """(frames,) through a symmetric filter of odd length, without delay."""
    half = len(taps) // 2
    return np.asarray(oaconvolve(wave, taps)[half : half + len(wave)], dtype=np.float32)


def to_narrow(wave: Wave, taps: NDArray[np.float32]) -> Wave:
    """(frames,) at 16 kHz to (ceil(frames / 2),) at 8 kHz; the filter must end below 4 kHz."""
    return filtered(wave, taps)[::2]


def from_narrow(narrow: Wave, frames: int, taps: NDArray[np.float32]) -> Wave:
    """8 kHz back to (frames,) at 16 kHz."""
    wide = np.zeros(frames, np.float32)
    wide[::2] = narrow
    return filtered(wide, taps * np.float32(2.0))
