"""Makes data/corpora/words and data/corpora/noise: one Parquet shard a voice and one a noise type."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.audio import RATE, Wave, encode_flac
from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import EMBEDDED_CORPORA, load
from tasks.common.tables import AUDIO, prune, write_parquet, write_text
from tasks.synthesis.espeak import say
from tasks.synthesis.noise import noise
from tasks.synthesis.params import NoiseParams, SynthesisParams, WordsParams

SCHEMA = pa.schema([("audio", AUDIO), ("sampling_rate", pa.int32()), ("metadata", pa.string())])
README = "Corpora made by `python -m tasks.synthesis`: words/ is speech (espeak-ng), noise/ is generated noise. Empty in a profile on recordings.\n"

WordsJob = tuple[Path, str, str, WordsParams]
NoiseJob = tuple[Path, str, NoiseParams]


def row(key: str, wave: Wave, metadata: dict[str, Any]) -> dict[str, Any]:
    """One clip as a row of a shard."""
    audio = {"bytes": encode_flac(wave), "path": key}
    return {"audio": audio, "sampling_rate": RATE, "metadata": json.dumps(metadata, sort_keys=True)}


def speaker_name(voice: str) -> str:
    """`gmw/en-US+m3` as `en-US_m3`, which file names and reports can carry."""
    return voice.rpartition("/")[2].replace("+", "_")


def write_words(job: WordsJob) -> int:
    """One voice speaks every word at every speed and pitch; returns the number of clips."""
    path, voice, gender, params = job
    speaker = speaker_name(voice)
    language, _, variant = speaker.partition("_")
    rows = [
        row(
            f"{speaker}/{word}-{speed}-{pitch}",
            say(word, voice, speed, pitch),
            {"word": word, "speaker": speaker, "language": language, "variant": variant, "gender": gender, "speed_wpm": speed, "pitch": pitch},
        )
        for word in params.words
        for speed in params.speeds_wpm
        for pitch in params.pitches
    ]
    write_parquet(path, rows, SCHEMA)
    return len(rows)


def write_noise(job: NoiseJob) -> int:
    """Every clip of one noise type; returns their number."""
    path, noise_type, params = job
    rows = [
        row(f"{noise_type}/{index}", noise(noise_type, index, params), {"noise_type": noise_type, "clip": index}) for index in range(params.clips)
    ]
    write_parquet(path, rows, SCHEMA)
    return len(rows)


def run(*, fan_out: FanOut) -> Counts:
    """Write the corpora that params.yaml names, and remove the others."""
    params = load("synthesis", SynthesisParams)
    root = Path(EMBEDDED_CORPORA)
    write_text(root / "README.txt", README)
    done: dict[str, int] = {}
    if "words" in params.corpora:
        voices = [(voice, gender) for gender in ("male", "female") for voice in getattr(params.words.voices, gender)]
        words = [(root / "words" / f"{speaker_name(voice)}.parquet", voice, gender, params.words) for voice, gender in voices]
        done["words"] = sum(fan_out(write_words, words, "words"))
        prune(root / "words", {job[0].name for job in words})
    if "noise" in params.corpora:
        noises = [(root / "noise" / f"{noise_type}.parquet", noise_type, params.noise) for noise_type in params.noise.types]
        done["noise"] = sum(fan_out(write_noise, noises, "noise"))
        prune(root / "noise", {job[0].name for job in noises})
    for corpus in {"words", "noise"}.difference(params.corpora):
        shutil.rmtree(root / corpus, ignore_errors=True)
    return Counts(done=done)
