"""Waveform denoisers, the front ends that noise-aware methods are compared with: one function a file, by well-kept libraries.

All take (frames,) float32 at 16 kHz and return as many, time-aligned with the input and the same on every call. The
libraries are imported at the first call of each denoiser.
"""

from collections.abc import Callable
from importlib import import_module

import numpy as np

from tasks.common.audio import Wave

Denoiser = Callable[[Wave], Wave]


def _denoiser(name: str) -> Denoiser:
    """The function `denoise` of the module of that name, kept from audio that holds nothing to tell apart."""

    def denoise(wave: Wave) -> Wave:
        if len(wave) == 0 or np.ptp(wave) == 0.0:  # the libraries divide by a noise level of zero
            return wave.copy()
        found: Wave = import_module(module(name)).denoise(wave)
        return found

    denoise.__name__ = name
    return denoise


DENOISERS: dict[str, Denoiser] = {name: _denoiser(name) for name in ("spectral_gating", "wavelet", "rnnoise")}


def module(name: str) -> str:
    """The module of a denoiser, e.g. for `tasks.common.versions.made_by`."""
    return f"tasks.denoise.{name}"
