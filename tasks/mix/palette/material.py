"""What the palette is heard on: sentences of espeak-ng, generated noise and music, and each corruption laid on them. No recordings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave, active_power, rms_dbfs
from tasks.common.params import Section
from tasks.common.seeds import rng_of
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.render import mix
from tasks.synthesis.espeak import say
from tasks.synthesis.noise import SENTENCES, engine, hum, pink

TARGET = "gmw/en-US+f2"
OTHERS = (
    "gmw/en-US+m3",
    "gmw/en-GB-x-rp+f3",
    "gmw/en-US+m1",
    "gmw/en-GB-scotland+m4",
    "gmw/en-US+f4",
    "gmw/en-US+m7",
    "gmw/en-GB-x-rp+m5",
    "gmw/en-US+f5",
)
FRAMES = int(2.8 * RATE)
FAINT_SNR_DB, SNR_DB = 25.0, 5.0
LEVEL = 10.0 ** (-24.0 / 20.0)  # of active speech in every example
MODULES: dict[str, Any] = {**EFFECTS, **ENVELOPES, **SOURCES}


@dataclass(frozen=True)
class Example:
    """Samples (frames,) before and after, and what was drawn."""

    before: Wave
    after: Wave
    drawn: dict[str, Any]


def speech(frames: int = FRAMES) -> Wave:
    """Sentences of one voice, with a short pause after each."""
    said: list[Wave] = []
    for sentence in SENTENCES:
        said += [say(sentence, TARGET), np.zeros(RATE // 4, np.float32)]
        if sum(map(len, said)) >= frames:
            break
    wave = np.concatenate(said)[:frames]
    return wave * np.float32(LEVEL / active_power(wave) ** 0.5)


def others(count: int) -> list[Wave]:
    """Utterances of other voices."""
    return [say(SENTENCES[-1 - index % len(SENTENCES)], OTHERS[index % len(OTHERS)]) for index in range(count)]


def music(seconds: float = 2.0) -> Wave:
    """Four chords of plucked notes."""
    time = np.arange(int(seconds * RATE / 4)) / RATE
    chords = [(220.0, 277.2, 329.6), (246.9, 293.7, 370.0), (196.0, 246.9, 293.7), (220.0, 277.2, 440.0)]
    plucks = [sum(np.exp(-3.0 * k * time) * np.sin(2.0 * np.pi * hz * k * time) / k for hz in chord for k in range(1, 6)) for chord in chords]
    return np.concatenate(plucks).astype(np.float32)


def noises() -> list[Wave]:
    """Generated noises of several kinds."""
    makers: list[Callable[[np.random.Generator, int], NDArray[np.float64]]] = [engine, pink, hum]
    return [make(rng_of("palette", make.__name__), FRAMES).astype(np.float32) for make in makers * 3]


def added(clean: Wave, under: Wave, snr_db: float, envelope: Wave | None = None) -> Wave:
    """The sound under the speech, at its SNR over active speech, as a build mixes it."""
    return mix(clean, under, snr_db=snr_db, envelope=envelope).wave


def example(name: str, params: Section) -> Example:
    """One corruption as `params` describes it, before and after: effects on speech in faint noise, envelopes on noise at 5 dB, sources at 5 dB."""
    module = MODULES[name]
    drawn = {key: values[0] for key, values in module.draw(params, lambda key: rng_of("palette", name, key).random(1)).items()}
    clean, rng = speech(), rng_of("palette", name)
    if name in EFFECTS:
        before = added(clean, noises()[1], FAINT_SNR_DB)
        after = module.apply(before, rng, **drawn)
        # At the same level, as in a build, where the level is set last.
        return Example(before, after * np.float32(10.0 ** ((rms_dbfs(before) - rms_dbfs(after)) / 20.0)), drawn)
    if name in ENVELOPES:
        noise = noises()[1]
        return Example(added(clean, noise, SNR_DB), added(clean, noise, SNR_DB, module.gain(len(clean), rng, **drawn)), drawn)
    pool = others(drawn["count"]) if module.POOL == "speech" else [music()] if module.NOISE_TYPE == "music" else noises()
    return Example(clean, added(clean, module.mixdown(pool, len(clean), **drawn), SNR_DB), drawn)
