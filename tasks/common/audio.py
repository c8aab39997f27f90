"""Audio in arrays: decode, downmix, resample, encode, and the levels everything else is defined on.

Policy, stated once: everything inside is mono float32 at 16 kHz. More channels are averaged. Resampling is
torchaudio's windowed-sinc kernel (width 32, roll-off 0.95). No level is normalised on the way in; mixing sets levels.
Audio at rest is 16-bit FLAC.
"""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

RATE = 16_000
FRAME = RATE // 50  # 20 ms
Wave = NDArray[np.float32]


def to_mono(samples: NDArray[Any]) -> Wave:
    """(frames,) or (frames, channels) to (frames,) float32, by the mean over channels; no copy where there is one."""
    mono = samples if samples.ndim == 1 else samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return np.ascontiguousarray(mono, dtype=np.float32)


@functools.cache
def _resampler(rate: int, target: int) -> Callable[[Any], Any]:
    """Kept, because making the kernel costs more than applying it; made in double precision, unlike the functional form's."""
    import torchaudio

    resampler: Callable[[Any], Any] = torchaudio.transforms.Resample(rate, target, lowpass_filter_width=32, rolloff=0.95)
    return resampler


def resample(wave: Wave, rate: int, target: int = RATE) -> Wave:
    """(frames,) at `rate` Hz to `target` Hz."""
    if rate == target:
        return wave
    import torch

    result: Wave = _resampler(rate, target)(torch.from_numpy(wave)).numpy()
    return result


def decode(source: Path | bytes) -> tuple[Wave, int]:
    """A file or its bytes as mono float32 at its own rate. Raises soundfile.LibsndfileError where it cannot."""
    samples, rate = sf.read(io.BytesIO(source) if isinstance(source, bytes) else source, dtype="float32")
    return to_mono(samples), int(rate)


def encode_flac(wave: Wave, rate: int = RATE) -> bytes:
    """(frames,) in [-1, 1] as 16-bit FLAC; quantised here so that the bytes do not hang on libsndfile's scaling."""
    scaled = wave * np.float32(32768.0)  # a power of two: as exact as in double precision
    np.rint(scaled, out=scaled)
    pcm = np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)
    buffer = io.BytesIO()
    sf.write(buffer, pcm, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def frame_energies(wave: Wave, size: int) -> NDArray[np.float64]:
    """Sums of squares of the whole frames of `size` samples. Sums of a short frame are right to 1e-6 in float32, and twice as fast."""
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    return np.einsum("ij,ij->i", frames, frames).astype(np.float64)


def mean_power(wave: Wave) -> float:
    """Mean square; 0.0 for no samples."""
    rest = wave[len(wave) // FRAME * FRAME :]
    return float(frame_energies(wave, FRAME).sum() + np.einsum("i,i->", rest, rest)) / max(len(wave), 1)


def rms_dbfs(wave: Wave) -> float:
    """Root-mean-square level in dB relative to full scale; -inf becomes -200 so that it stays a number in JSON."""
    power = mean_power(wave)
    return 10.0 * float(np.log10(power)) if power > 1e-20 else -200.0


def active_power(wave: Wave, gate_db: float = 40.0) -> float:
    """Mean power over active frames: 20 ms frames within `gate_db` of the loudest one; a clip shorter than a frame is one.

    The energy gate that defines SNR over active speech here. Returns 0.0 for silence.
    """
    energy = frame_energies(wave, min(FRAME, max(len(wave), 1)))
    if energy.size == 0 or energy.max() <= 0.0:
        return 0.0
    return float(energy[energy >= energy.max() * 10.0 ** (-gate_db / 10.0)].mean()) / min(FRAME, len(wave))


def at_speed(wave: Wave, speed: float) -> Wave:
    """Played `speed` times as fast: another pitch, another vocal tract, another speaker."""
    if speed == 1.0:
        return wave
    return np.interp(np.arange(int(len(wave) / speed)) * speed, np.arange(len(wave)), wave).astype(np.float32)
