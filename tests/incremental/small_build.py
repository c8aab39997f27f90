"""A project with 40 noise clips and more than 2,000 mixtures, and its stages from the catalog to the references as plain functions.

Corpora lie in folders; each utterance's words and each noise's type are in its file's name. The teacher is a Qwen2-Audio of random weights.
"""

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import yaml

from tasks.catalog import stage as catalog
from tasks.common.audio import RATE
from tasks.common.cli import BUILD, record
from tasks.common.fanout import in_process
from tasks.common.seeds import rng_of
from tasks.items import stage as items
from tasks.mix import stage as mix
from tasks.references import stage as references
from tasks.rooms import stage as rooms
from tests import teacher_side

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"catalog": catalog, "rooms": rooms, "items": items, "mix": mix, "references": references}
TYPES = ("engine", "fan", "rain", "street")
NOISES = 40
_TERMS = {"licence": "CC0-1.0", "source": "https://example.org", "citation": "none", "duration_s": [0.2, 60.0], "layout": "folder"}
SPEECH = _TERMS | {
    **{"corpus": "talk", "kind": "speech", "root": "talk", "unit": "utterance", "text": "text"},
    "pattern": r"(?P<speaker>[a-z]+)/(?P<text>[a-z ]+) (?P<take>\d+)\.flac",
    "split": {"field": "speaker", "test": ["cyd", "dot"], "validation": ["bob", "eve"]},
}
NOISE = _TERMS | {
    **{"corpus": "din", "kind": "noise", "root": "din"},
    "pattern": r"(?P<noise_type>[a-z]+)/(?P<split>train|validation|test)-[^/]+\.flac",
    "split": {"field": "split", "test": ["test"], "validation": ["validation"]},
}
CHAINS = {
    "noise": [{"share": 0.2, "envelope": "partial"}, {"share": 0.2, "effects": ["mulaw"]}],
    "speech": [{"share": 0.3, "source": {"babble": {"count": [2, 2]}}}, {"share": 0.2, "effects": ["clipping"]}],
}


def write_sound(path: Path, seconds: float, *seed: Any) -> None:
    """Coloured noise of a loudness and colour of its own, as FLAC."""
    rng = rng_of(*seed)
    wave = np.convolve(rng.normal(0.0, 0.05, round(seconds * RATE)), rng.normal(0.0, 0.5, 4), "same")
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.clip(wave, -0.9, 0.9), RATE, format="FLAC", subtype="PCM_16")


def noise_path(number: int, corpora: Path = Path("sounds")) -> Path:
    """File of a noise clip: three of five train, one validates, one tests."""
    split = ("train", "train", "train", "validation", "test")[number % 5]
    return corpora / f"din/{TYPES[number % 4]}/{split}-{number:03d}.flac"


def write_entry(entry: dict[str, Any], **changes: Any) -> None:
    """A catalog entry, with changes."""
    path = Path("catalogs", entry["kind"], f"{entry['corpus']}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(entry | changes))


def write_params(corpora: str, chains: dict[str, Any], shard_mixtures: int) -> None:
    """The project's own params.yaml on the sections of the real one."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"profile": "tiny", "corpora": corpora}
    params["catalog"] = {"speech": ["talk"], "noise": ["din"], "rooms": []}
    params["rooms"] |= {"simulated": {"train": 4, "validation": 2, "test": 2}, "rt60_s": [0.15, 0.3]}
    params["mix"] |= {
        "corruptions": "catalogs/curricula/small.yaml",
        "shard_mixtures": shard_mixtures,
        "per_noise": {"train": 60, "validation": 20, "test": 60},
    }
    params["references"]["max_new_tokens"] = 4
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    Path("catalogs/curricula").mkdir(parents=True, exist_ok=True)
    Path("catalogs/curricula/small.yaml").write_text(yaml.safe_dump({"corruptions": chains}))


def write_project(utterance_s: float = 0.4, noise_s: float = 0.8, utterances: int = 60, shard_mixtures: int = 256) -> None:
    """Corpora, catalog entries, parameters and a teacher in the working folder."""
    for name in ("profiles", "catalogs/questions"):
        shutil.copytree(ROOT / name, name)
    for number in range(utterances):
        speaker = ("ann", "bob", "cyd", "dot", "eve", "fay")[number % 6]
        words = " ".join(teacher_side.WORDS[(number + place) % 4] for place in range(1 + number % 3))
        write_sound(Path(f"sounds/talk/{speaker}/{words} {number}.flac"), utterance_s, "talk", number)
    for number in range(NOISES):
        write_sound(noise_path(number), noise_s, "din", number)
    write_entry(SPEECH)
    write_entry(NOISE)
    write_params("sounds", CHAINS, shard_mixtures)
    teacher_side.write_model(Path("models/backbone"), math.ceil(utterance_s))


def rebuild(*stages: str) -> dict[str, dict[str, Any]]:
    """Run the stages (all of them, if none is named) in this process; returns reports/build.json."""
    for name in stages or STAGES:
        run, start = STAGES[name].run, time.perf_counter()
        counts = run() if name == "items" else run(fan_out=in_process)
        record(name, time.perf_counter() - start, counts)
    build: dict[str, dict[str, Any]] = json.loads(BUILD.read_text())
    return build
