"""Numbers, batches and slow passes that several of these tests share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tasks.common.audio import Wave, decode
from tasks.common.seeds import rng_of
from tasks.engines import qwen2_audio as family
from tasks.items.prompt import text_only
from tasks.training.data import Curriculum, collate
from tasks.training.methods import flags
from tasks.training.params import TrainingParams, laid

Row = dict[str, Any]
WORDS = ["lamp", "tree", "boat", "cow"]
SMALL: dict[str, Any] = {
    "threads": 1,
    "log_every": 1,
    "cached_views": 100,
    "validation_rows": 4,
    "max_new_tokens": 4,
    "common": {
        "steps": 3,
        "batch_items": 4,
        "learning_rate": 1.0e-3,
        "warmup_steps": 1,
        "ema": 0.5,
        "clean_share": 0.25,
        "rollouts": {"group_size": 4, "max_new_tokens": 6},
    },
    "grpo": {"learning_rate": 1.0e-3},
    "xopd": {"rollouts": {"group_size": 2}},
    "gkd": {"rollouts": {"group_size": 2}},
}


def training_section(**changes: Any) -> dict[str, Any]:
    """The project's `training` section with runs of a few small steps, and `changes` laid over it."""
    section = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["training"]
    return laid(laid(section, SMALL), changes)


def training_of(**changes: Any) -> TrainingParams:
    """The same, checked."""
    return TrainingParams.model_validate(training_section(**changes))


def wave_of(name: str, seconds: float) -> Wave:
    """Noise of its own for each name."""
    return (0.1 * rng_of("wave", name).standard_normal(int(16_000 * seconds))).astype(np.float32)


def batch_of(rows: list[Row], waves: dict[str, Wave], processor: Any, numbers: Sequence[int], views: Sequence[str] = ()) -> dict[str, Any]:
    """Rows `numbers` as one micro-batch that is a whole step; the student hears the noisy audio."""
    data = Curriculum(rows, waves, processor, views, numbers, [False] * len(numbers), 100)
    batch = collate([data[position] for position in range(len(data))], processor.tokenizer.pad_token_id)
    return {**batch, "totals": flags([batch]), "copies": 1}


def asked(row: Row, waves: dict[str, Wave], path: str) -> tuple[str, Wave | None]:
    """(prompt, audio) of one way of putting a row to a model: `noisy`, or a view."""
    noisy, read = decode(row["audio"]["bytes"])[0], text_only(row["transcript"] or "", row["prompt"])
    ways = {
        "noisy": (row["prompt"], noisy),
        "clean": (row["prompt"], waves[row["clip_id"]]),
        "silence": (row["prompt"], 0 * noisy),
        "keep_transcript": (read, 0 * noisy),
        "drop_audio": (row["prompt"], None),
        "text": (read, None),
    }
    return ways[path]


def full_logits(model: Any, processor: Any, prompt: str, wave: Wave | None, response: Sequence[int]) -> torch.Tensor:
    """Logits (T, V) along a response from one unbatched, uncached pass over prompt and response."""
    text = family.chat_text(processor, prompt, wave is not None)
    view = family.inputs(processor, [text], None if wave is None else [wave], 1)
    ids = torch.cat([view["input_ids"], torch.tensor([list(response)])], 1)
    logits = model(**{**view, "input_ids": ids, "attention_mask": torch.ones_like(ids)}, use_cache=False).logits[0]
    return logits[-1 - len(response) : -1]
