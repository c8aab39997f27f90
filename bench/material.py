"""Clips, noises and responses of the mixing benchmarks: generated from a seed, so that everybody measures the same.

Clips are 10 s of speech-shaped noise in syllables and pauses, noises 30 s of coloured noise, responses 1 s with a 60 dB decay; 16 kHz.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from scipy.signal import lfilter

from tasks.common.audio import RATE, Wave, encode_flac
from tasks.rooms.measure import DIRECT

CLIPS, NOISES, ROOMS = 200, 20, 20
SNR_DB = 5.0


@dataclass(frozen=True)
class Material:
    """Paths of the files; clip i meets noise `i % NOISES` and room `7 * i % ROOMS`."""

    folder: Path
    suffix: str = ".wav"

    def clip(self, index: int) -> Path:
        return self.folder / "clips" / f"{index}{self.suffix}"

    def noise(self, index: int) -> Path:
        return self.folder / "noises" / f"{index % NOISES}.wav"

    def room(self, index: int) -> Path:
        return self.folder / "rooms" / f"{7 * index % ROOMS}.wav"


def coloured(rng: np.random.Generator, seconds: float, pole: float) -> Wave:
    """White noise through one pole, with an RMS of 0.05."""
    wave = lfilter([1.0], [1.0, -pole], rng.normal(0.0, 1.0, int(seconds * RATE)))
    return np.asarray(wave * (0.05 / wave.std()), dtype=np.float32)


def speech_like(rng: np.random.Generator, seconds: float) -> Wave:
    """Coloured noise at four syllables a second, seven of them and a pause."""
    syllable = np.hanning(RATE // 4)
    gains = rng.uniform(0.5, 1.0, int(seconds * 4)) * (np.arange(int(seconds * 4)) % 8 < 7)
    return np.asarray(coloured(rng, seconds, 0.9) * np.outer(gains, syllable).reshape(-1), dtype=np.float32)


def response(rng: np.random.Generator, seconds: float = 1.0) -> Wave:
    """A direct sound at `DIRECT` and an exponential tail that falls by 60 dB."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = 0.05 * rng.normal(0.0, 1.0, len(time)) * 10.0 ** (-3.0 * time / seconds)
    wave[:DIRECT], wave[DIRECT] = 0.0, 1.0
    return np.asarray(wave, dtype=np.float32)


def make(folder: Path) -> None:
    """Write the files: clips as 16-bit WAV and as FLAC, noises as 16-bit WAV, responses as float WAV."""
    rng = np.random.default_rng(0)
    for name in ("clips", "noises", "rooms"):
        (folder / name).mkdir()
    for index in range(CLIPS):
        wave = speech_like(rng, 10.0)
        sf.write(folder / "clips" / f"{index}.wav", wave, RATE, subtype="PCM_16")
        (folder / "clips" / f"{index}.flac").write_bytes(encode_flac(wave))
    for index in range(NOISES):
        sf.write(folder / "noises" / f"{index}.wav", coloured(rng, 30.0, rng.uniform(0.0, 0.95)), RATE, subtype="PCM_16")
    for index in range(ROOMS):
        sf.write(folder / "rooms" / f"{index}.wav", response(rng), RATE, subtype="FLOAT")
