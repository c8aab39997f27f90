"""A model folder that vLLM loads.

    python -m tasks.engines.vllm_folder models/backbone   # prints the folder to serve

vLLM's Qwen2-Audio takes 30 s of features whatever the clip, so a model with a shorter window is copied, once per revision, with an
extractor that says 30 s and its position table extended. The rows it was trained with stay the same, and the encoder masks the
padding, so the answers do too. A checkpoint that says 30 s is used as it is. The window stays the original model's.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from transformers.models.whisper.modeling_whisper import sinusoids

from tasks.common.errors import UserError
from tasks.common.sha256sums import SUMS
from tasks.common.tables import sync_folder, write_bytes, write_text
from tasks.engines.base import model_revision
from tasks.engines.prompts import PROCESSOR_FILES

CHUNK_S = 30
POSITIONS = 1500  # 50 a second
WEIGHTS = "model.safetensors"


def vllm_folder(folder: Path) -> Path:
    """`folder` itself, or its extended copy in a hidden folder beside it; raises UserError for a table that cannot be extended."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "qwen2_audio":
        return folder
    path = next(folder / name for name in PROCESSOR_FILES if (folder / name).is_file())
    settings = json.loads(path.read_text(encoding="utf-8"))
    extractor = settings.get("feature_extractor", settings)
    if extractor["chunk_length"] >= CHUNK_S:
        return folder
    copy = folder.parent / ".vllm" / f"{folder.name}-{model_revision(folder)}"
    if copy.is_dir():
        return copy
    weights = _extended(folder)
    temporary = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(folder, temporary, ignore=shutil.ignore_patterns(SUMS))
    write_bytes(temporary / WEIGHTS, weights)
    config["audio_config"]["max_source_positions"] = POSITIONS
    rate, hop = extractor["sampling_rate"], extractor["hop_length"]
    extractor |= {"chunk_length": CHUNK_S, "n_samples": CHUNK_S * rate, "nb_max_frames": CHUNK_S * rate // hop}
    write_text(temporary / "config.json", json.dumps(config, indent=1))
    write_text(temporary / path.name, json.dumps(settings, indent=1))
    write_text(temporary / "preprocessor_config.json", json.dumps(extractor, indent=1))  # where vLLM looks for the extractor
    sync_folder(temporary)
    try:
        temporary.rename(copy)
    except OSError:  # another process was faster
        shutil.rmtree(temporary)
    for old in copy.parent.glob(f"{folder.name}-*"):
        if old != copy:
            shutil.rmtree(old, ignore_errors=True)
    return copy


def _extended(folder: Path) -> bytes:
    """The model's weights with its position table extended."""
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if name.endswith("embed_positions.weight"))
    rows = tensors[name]
    table = sinusoids(POSITIONS, rows.shape[1]).to(rows.dtype)
    if not torch.allclose(table[: len(rows)], rows, atol=1e-6):
        raise UserError(str(folder), f"{name} is not Whisper's sinusoidal table, so vLLM's 30 s cannot be reached", "Use engine: transformers")
    table[: len(rows)] = rows
    tensors[name] = table.contiguous()
    data: bytes = serialise(tensors, metadata={"format": "pt"})
    return data


def _main() -> None:
    folder = Path(sys.argv[1])
    if not (folder / "config.json").is_file():
        raise UserError(str(folder), "no model here (config.json is missing)", "Give a from_pretrained folder")
    print(vllm_folder(folder))


if __name__ == "__main__":
    from tasks.common.cli import guarded

    guarded(_main)
