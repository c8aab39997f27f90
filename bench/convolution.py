"""Which FFT convolves fastest on a CPU: a 10 s clip with a 1 s response at 16 kHz, float32, one thread.

Ours is overlap-save by scipy.fft with the response's spectrum kept (tasks/mix/convolve.py). pyfftw has the same blocks and kept
spectrum, aligned buffers and plans made beforehand: `estimate` plans are the same on every run, `measure` plans are chosen by timing,
and then so is the last bit. scipy's `oaconvolve` and torchaudio's `fftconvolve` transform the response each time. Each in turn, medians.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pyfftw
import torch
import torchaudio.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import oaconvolve

from bench.material import response, speech_like
from bench.table import Row
from tasks.common.audio import Wave, decode, encode_flac
from tasks.mix.convolve import blocks, convolved, spectrum
from tasks.mix.memory import keep_freed_memory
from tasks.rooms.measure import DIRECT

TURNS = 60


def with_fftw(clip: Wave, rir: Wave, effort: str) -> Callable[[], Wave]:
    """`tasks.mix.convolve.convolved` with pyfftw in scipy's place."""
    frames, taps = len(clip), len(rir)
    number, length = blocks(frames, taps)
    advance, kept = length - taps + 1, spectrum(rir, length) / length
    padded = np.zeros(number * advance + taps - 1, dtype=np.float32)
    framed = sliding_window_view(padded, length)[::advance]
    signal, result = pyfftw.empty_aligned((number, length), "float32"), pyfftw.empty_aligned((number, length), "float32")
    spectra = pyfftw.empty_aligned((number, length // 2 + 1), "complex64")
    forward = pyfftw.FFTW(signal, spectra, axes=(1,), flags=(f"FFTW_{effort}",))
    backward = pyfftw.FFTW(spectra, result, axes=(1,), direction="FFTW_BACKWARD", flags=(f"FFTW_{effort}", "FFTW_DESTROY_INPUT"))
    lead = taps - 1 - DIRECT

    def run() -> Wave:
        padded[lead : lead + frames] = clip
        signal[:] = framed
        forward()
        np.multiply(spectra, kept, out=spectra)
        backward(normalise_idft=False)
        return np.asarray(result[:, taps - 1 :].reshape(-1)[:frames])

    return run


def cpu_ms(run: Callable[[], object]) -> float:
    """Median CPU time in milliseconds."""
    times = []
    for _ in range(TURNS):
        start = time.process_time()
        run()
        times.append(1000.0 * (time.process_time() - start))
    return median(times)


def rows() -> list[Row]:
    """`convolution_<peer>`, `flac_encode`, `flac_decode`."""
    keep_freed_memory()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clip, rir = speech_like(rng, 10.0), response(rng)
    length = blocks(len(clip), len(rir))[1]
    spectra = {length: spectrum(rir, length)}
    first, second = torch.from_numpy(clip), torch.from_numpy(rir)
    ways: dict[str, Callable[[], Wave]] = {
        "ours": lambda: convolved(clip, rir, DIRECT, lambda _, size: spectra[size]),
        "pyfftw_estimate": with_fftw(clip, rir, "ESTIMATE"),
        "pyfftw_measure": with_fftw(clip, rir, "MEASURE"),
        "scipy_oaconvolve": lambda: oaconvolve(clip, rir)[DIRECT:][: len(clip)],
        "torchaudio": lambda: F.fftconvolve(first, second).numpy()[DIRECT:][: len(clip)],
    }
    expected = ways["scipy_oaconvolve"]()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, run in ways.items():
            start = time.process_time()
            made = run()
            times[name].append(1000.0 * (time.process_time() - start))
            assert np.abs(made - expected).max() < 1e-5, name
    ours, *peers = (median(spent) for spent in times.values())
    note = "10 s clip, 1 s response, 16 kHz, median of CPU time"
    encoded = encode_flac(clip)
    flac = [
        Row("flac_encode", "ms", cpu_ms(lambda: encode_flac(clip)), note=note),
        Row("flac_decode", "ms", cpu_ms(lambda: decode(encoded)), note=note),
    ]
    return [*flac, *(Row(f"convolution_{name}", "ms", ours, name, peer, peer / ours, note) for name, peer in zip(list(ways)[1:], peers, strict=True))]
