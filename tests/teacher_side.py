"""A small project for the stages from the references to the curriculum: the tables of earlier stages and a random model.

Six utterances (two a split, one of them in training too long for the model), two noise clips a split, one room.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
import torch

from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import ModelParams
from tasks.common.audio import RATE, Wave, encode_flac
from tasks.common.seeds import content_id, rng_of
from tasks.common.tables import AUDIO, write_bytes, write_parquet
from tasks.see.basis import Basis, basis_path, save_basis

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("lamp", "tree", "boat", "cow")
SPLITS = ("train", "validation", "test")
SNRS = (-10.0, 5.0, 20.0)
STRINGS = pa.string()
SPEECH = pa.schema(
    {
        **dict.fromkeys(("clip_id", "corpus", "kind", "path", "sha256"), STRINGS),
        **{"sampling_rate": pa.int32(), "duration_s": pa.float64(), "channels": pa.int32(), "rms_dbfs": pa.float64()},
        **dict.fromkeys(("licence", "split", "speaker", "text", "metadata", "noise_type"), STRINGS),
    }
)
ITEMS = pa.schema(
    {
        **dict.fromkeys(("item_id", "clip_id", "question"), STRINGS),
        **{"options": pa.list_(STRINGS)},
        **dict.fromkeys(("answer", "task", "transcript", "split"), STRINGS),
    }
)
MIXTURES = pa.schema(
    {
        **{"mixture_id": STRINGS, "clip_id": STRINGS, "noise_ids": pa.list_(STRINGS), "noise_type": STRINGS, "room_id": STRINGS},
        **{"snr_db": pa.float64(), "corruption": STRINGS, "split": STRINGS, "recipe_hash": STRINGS, "recipe": STRINGS},
        **{"audio": AUDIO, "sampling_rate": pa.int32()},
    }
)
ROOMS = pa.schema([("room_id", pa.string()), ("licence", pa.string())])
LISTS = pa.list_(STRINGS)
MANIFEST = pa.schema([*(field for field in MIXTURES if field.name != "audio"), ("shard", STRINGS), ("licences", LISTS), ("corpora", LISTS)])
CORPORA = pa.schema([*((name, STRINGS) for name in ("corpus", "source", "citation")), ("licences", LISTS)])


def clip(kind: str, split: str, number: int, seconds: float) -> tuple[dict[str, Any], Wave]:
    """A catalog row and its samples."""
    hertz = rng_of(kind, split, number).uniform(150, 1500)
    wave = (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
    row: dict[str, Any] = dict.fromkeys(SPEECH.names)
    name = f"{kind}/{split}-{number}.flac"
    clip_id = content_id([kind, split, number])
    row |= {
        "clip_id": clip_id,
        "corpus": f"some {kind}",
        "kind": "utterance",
        "path": name,
        "sampling_rate": RATE,
        "duration_s": seconds,
        "channels": 1,
        "split": split,
    }
    row |= {"licence": f"licence of {kind} {number}", "text": f"{WORDS[number]} {WORDS[number + 1]}", "metadata": "{}", "noise_type": f"type{number}"}
    return row, wave


def item(row: dict[str, Any], task: str, question: str, answer: str) -> dict[str, Any]:
    transcript = "" if task == "background" else row["text"]
    options = ["type0", "type1"] if task == "background" else list(WORDS)
    fields = [row["clip_id"], task, question, options, answer]
    return dict(zip(ITEMS.names, [content_id(fields), row["clip_id"], question, options, answer, task, transcript, row["split"]], strict=True))


def mixture(speech: dict[str, Any], noise: dict[str, Any] | None, snr_db: float | None, audio: Wave, room: str | None) -> dict[str, Any]:
    fields = [speech["clip_id"], noise and noise["clip_id"], snr_db, room]
    return {
        "mixture_id": content_id(fields),
        "clip_id": speech["clip_id"],
        "noise_ids": [noise["clip_id"]] if noise else [],
        "noise_type": noise["noise_type"] if noise else None,
        "room_id": room,
        "snr_db": snr_db,
        "corruption": "noise" if noise else "clean",
        "split": speech["split"],
        "recipe_hash": content_id([*fields, "rendered"]),
        "recipe": json.dumps({"speech": speech["clip_id"]} | ({"noises": [noise["clip_id"]], "snr_db": snr_db, "offset": 0.0} if noise else {})),
        "audio": {"bytes": encode_flac(audio), "path": f"{content_id(fields)}.flac"},
        "sampling_rate": RATE,
    }


def listed(row: dict[str, Any], shard: str, clips: list[dict[str, Any]]) -> dict[str, Any]:
    """A mixture's row of the manifest."""
    used = [clip for clip in clips if clip["clip_id"] in (row["clip_id"], *row["noise_ids"])]
    licences = {clip["licence"] for clip in used} | ({"licence of room"} if row["room_id"] else set())
    return row | {"shard": f"{shard}.parquet", "licences": sorted(licences), "corpora": sorted({clip["corpus"] for clip in used})}


def write_model(folder: Path, window_s: int = 2) -> None:
    """A random model whose logits are spread out, so that it answers differently to different audio."""
    processor = build_processor([f" {word}" for word in WORDS] + ["first word? options: transcript: <think> </think><answer> </answer>"], window_s)
    model = build_model(processor, ModelParams())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "positions" not in name:
                weight.mul_(6.0)
    save(model, processor, folder)


def write_basis(path: Path, seed: int = 0) -> None:
    """Some noise directions of the last layer of that model's encoder, for SEE to be measured against."""
    params = ModelParams()
    drawn = torch.randn(4 * params.width, 3, generator=torch.Generator().manual_seed(seed))
    save_basis(Basis({params.audio_layers - 1: torch.linalg.qr(drawn).Q}, {}), path)


def build(root: Path) -> None:
    """Write the project below `root`; the mixture at 20 dB of each pair is the clean clip itself, so noise changes nothing there."""
    for name in ("profiles", "catalogs"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    data = root / "data"
    speech, noise, items = [], [], []
    mixtures: dict[str, list[dict[str, Any]]] = {}
    waves = {}
    for split in SPLITS:
        for number in range(2):
            too_long = split == "train" and number == 1
            row, wave = clip("speech", split, number, 3.0 if too_long else 0.8 + 0.5 * number)
            file = data / "corpora" / row["path"]
            write_bytes(file, encode_flac(wave))
            waves[row["clip_id"]] = sf.read(file, dtype="float32")[0]
            speech.append(row)
            items += [item(row, task, f"{task} word?", row["text"].split()[place]) for task, place in (("first", 0), ("last", -1))]
            row, wave = clip("noise", split, number, 1.0)
            write_bytes(data / "corpora" / row["path"], encode_flac(wave))
            noise.append(row)
            items.append(item(noise[-1], "background", "background?", noise[-1]["noise_type"]))
    for n in noise:
        rows = []
        for s in (row for row in speech if row["split"] == n["split"]):
            for snr_db in SNRS:
                gain = 0.0 if snr_db == 20.0 else 10 ** (-snr_db / 20)
                heard = waves[s["clip_id"]]
                noisy = heard + gain * 0.02 * rng_of("noise", n["clip_id"], snr_db).standard_normal(len(heard)).astype(np.float32)
                rows.append(mixture(s, n, snr_db, noisy.astype(np.float32), "room" if snr_db < 0 else None))
        mixtures[f"{n['split']}-noise-{n['clip_id']}"] = rows
    mixtures["train-clean"] = [mixture(s, None, None, waves[s["clip_id"]], None) for s in speech]
    write_parquet(data / "catalog/speech.parquet", speech, SPEECH)
    write_parquet(data / "catalog/noise.parquet", noise, SPEECH)
    write_parquet(data / "rooms/rooms.parquet", [{"room_id": "room", "licence": "licence of room"}], ROOMS)
    write_parquet(data / "items.parquet", items, ITEMS)
    for name, rows in mixtures.items():
        write_parquet(data / "mixtures" / f"{name}.parquet", rows, MIXTURES)
    write_parquet(
        data / "mixtures_manifest.parquet", [listed(row, name, speech + noise) for name, rows in mixtures.items() for row in rows], MANIFEST
    )
    cited = {"source": "https://example.org", "citation": "Some | body", "licences": ["CC0-1.0", "MIT"]}
    write_parquet(data / "catalog/corpora.parquet", [{"corpus": name, **cited} for name in ("some noise", "some speech", "unused")], CORPORA)
    write_model(root / "models/backbone")
    write_basis(root / basis_path(None))


def enter_copy(built: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a built project that one test may change, as the working folder."""
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder
