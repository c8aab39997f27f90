"""Noise from formulas: each generator makes (frames,) float64 at 16 kHz at any level; `noise` sets the level.

The types cover what listeners meet: stationary (white, pink), tonal (hum), speech-like (babble), sparse (impulsive)
and modulated harmonic (engine).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave, rms_dbfs
from tasks.common.seeds import rng_of
from tasks.synthesis.espeak import say
from tasks.synthesis.params import BabbleParams, NoiseParams

Rng = np.random.Generator
Samples = NDArray[np.float64]

PEAK = 0.95  # sparse noise at the asked level would clip: it is scaled down to this peak instead

SENTENCES = (
    "the train to the coast was late again this morning",
    "we could meet at the corner after the lecture",
    "she asked me whether the meeting had been moved",
    "nobody told him that the shop closes at five",
    "it rained all weekend so they stayed at home",
    "can you pass me the salt and the other plate",
    "they are still looking for a larger flat near the park",
    "my brother plays football on thursday evenings",
    "the second part of the film was much too long",
    "I never know which of these two buses to take",
    "he forgot his keys and had to wait outside",
    "let us ask the waiter for another round of drinks",
)


def white(rng: Rng, frames: int) -> Samples:
    """Flat spectrum."""
    return rng.standard_normal(frames)


def pink(rng: Rng, frames: int) -> Samples:
    """Power falls by 3 dB an octave above 20 Hz, and is absent below."""
    return _shaped(rng, frames, lambda hz: np.where(hz >= 20.0, 1.0 / np.sqrt(np.maximum(hz, 20.0)), 0.0))


def hum(rng: Rng, frames: int) -> Samples:
    """Mains: 50 or 60 Hz within 0.1 %, forty harmonics, the odd ones stronger, over a faint pink floor."""
    mains = float(rng.choice([50.0, 60.0])) * rng.uniform(0.999, 1.001)
    order = np.arange(1, 41)
    strength = order ** -rng.uniform(0.7, 1.1) * np.where(order % 2 == 1, 1.0, 0.5) * rng.uniform(0.5, 1.0, order.size)
    tone = _harmonics(rng, np.full(frames, mains, dtype=np.float64), strength)
    return tone * (1.0 + 0.2 * _slow(rng, frames, 0.5)) + 0.05 * tone.std() * _unit(pink(rng, frames))


def impulsive(rng: Rng, frames: int) -> Samples:
    """Clicks and knocks, about four a second at random times: noise bursts and damped resonances, over a faint floor."""
    samples = np.zeros(frames)
    for start in np.sort(rng.integers(0, frames, rng.poisson(4.0 * frames / RATE) + 1)):
        seconds = np.arange(min(RATE // 4, frames - start)) / RATE
        if rng.random() < 0.4:
            event = rng.standard_normal(seconds.size) * np.exp(-seconds / rng.uniform(0.001, 0.004))
        else:
            hz, decay = rng.uniform(150.0, 2500.0, 4), rng.uniform(0.008, 0.04, 4)
            event = (rng.uniform(0.3, 1.0, 4)[:, None] * np.exp(-seconds / decay[:, None]) * np.sin(2.0 * np.pi * hz[:, None] * seconds)).sum(axis=0)
        samples[start : start + seconds.size] += event * rng.uniform(0.3, 1.0)
    return samples + 0.01 * samples.std() * _unit(pink(rng, frames))


def engine(rng: Rng, frames: int) -> Samples:
    """A firing rate of 25 to 90 Hz that wanders with the load, its harmonics, loud and soft strokes, and rumble."""
    firing = rng.uniform(25.0, 90.0) * (1.0 + 0.15 * _slow(rng, frames, 0.3))
    order = np.arange(1, 51)
    strength = order ** -rng.uniform(0.6, 1.0) * rng.uniform(0.2, 1.0, order.size)
    strokes = 1.0 + 0.4 * np.sin(np.pi * np.cumsum(firing) / RATE + rng.uniform(0.0, 2.0 * np.pi))
    tone = _unit(_harmonics(rng, firing, strength) * strokes)
    rumble = _unit(_shaped(rng, frames, lambda hz: 1.0 / (1.0 + (hz / 400.0) ** 2)))
    return tone + 0.5 * rumble * strokes


def babble(rng: Rng, frames: int, params: BabbleParams) -> Samples:
    """Several talkers at once, each saying sentence after sentence in a voice of its own."""
    voices = rng.permutation(params.voices)[: params.talkers]
    total = np.zeros(frames)
    for voice in voices:
        speech = np.concatenate([_sentence(rng, str(voice)) for _ in range(2 + frames // (2 * RATE))])
        start = rng.integers(0, RATE)  # the talkers do not begin together
        total += _unit(np.resize(speech[start:], frames)) * rng.uniform(0.6, 1.0)
    return total


def _sentence(rng: Rng, voice: str) -> Samples:
    text = SENTENCES[rng.integers(len(SENTENCES))]
    wave = say(text, voice, int(rng.integers(150, 200)), int(rng.integers(35, 65)))
    return np.concatenate([wave.astype(np.float64), np.zeros(rng.integers(RATE // 10, RATE // 3))])


def _unit(samples: Samples) -> Samples:
    return samples / samples.std()


def _shaped(rng: Rng, frames: int, gain: Callable[[Samples], Samples]) -> Samples:
    """White noise with its amplitude spectrum multiplied by `gain(Hz)`."""
    hz = np.fft.rfftfreq(frames, 1.0 / RATE).astype(np.float64)
    shaped: Samples = np.fft.irfft(np.fft.rfft(rng.standard_normal(frames)) * gain(hz), frames).astype(np.float64)
    return shaped


def _slow(rng: Rng, frames: int, hz: float) -> Samples:
    """A smooth random curve, about unit variance, changing `hz` times a second."""
    knots = int(frames / RATE * hz) + 4
    return np.clip(np.interp(np.linspace(0.0, knots - 1.0, frames), np.arange(knots), rng.standard_normal(knots)), -2.0, 2.0)


def _harmonics(rng: Rng, hz: Samples, strength: Samples) -> Samples:
    """Sum of harmonics of a moving frequency `hz` (frames,); those above 7 kHz are left out."""
    phase = 2.0 * np.pi * np.cumsum(hz) / RATE
    orders = [order for order in range(1, len(strength) + 1) if order * hz.max() < 7000.0]
    total: Samples = np.sum([strength[order - 1] * np.sin(order * phase + rng.uniform(0.0, 2.0 * np.pi)) for order in orders], axis=0)
    return total


GENERATORS: dict[str, Callable[[Rng, int], Samples]] = {"white": white, "pink": pink, "hum": hum, "impulsive": impulsive, "engine": engine}


def noise(noise_type: str, index: int, params: NoiseParams) -> Wave:
    """Clip `index` of a type: (frames,) float32 at the asked RMS, or below it where its peak would pass full scale."""
    rng, frames = rng_of("synthesis", noise_type, index), int(params.clip_s * RATE)
    samples = babble(rng, frames, params.babble) if noise_type == "babble" else GENERATORS[noise_type](rng, frames)
    wave = (samples - samples.mean()).astype(np.float32)
    gain = min(10.0 ** ((params.level_dbfs - rms_dbfs(wave)) / 20.0), PEAK / float(np.abs(wave).max()))
    return wave * np.float32(gain)
