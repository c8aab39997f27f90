"""Numbers, batches and slow passes that several of these tests share."""

from typing import Any

import numpy as np
import torch

from tasks.common.audio import Wave
from tasks.common.seeds import rng_of
from tasks.engines import qwen2_audio as family
from tasks.training.data import Curriculum, collate

Row = dict[str, Any]
WORDS = ["lamp", "tree", "boat", "cow"]
OPTIMISER = {
    "seed": 0,
    "steps": 3,
    "batch_items": 4,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup_steps": 1,
    "betas": (0.9, 0.98),
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "ema": 0.5,
    "order": "cumulative",
    "clean_share": 0.25,
}
ECHO = {
    "group_size": 4,
    "temperature": 1.0,
    "max_new_tokens": 6,
    "shaping": "candidate",
    "beta": 0.5,
    "clip": 0.2,
    "lambda_policy": 0.3,
    "lambda_distill": 1.0,
    "lambda_features": 0.5,
    "teacher_gate": True,
}
CAAD = {"negative": "silence", "alpha": 0.5, "tau": 2.0, "weight": 0.7}


def wave_of(name: str, seconds: float) -> Wave:
    return (0.1 * rng_of("wave", name).standard_normal(int(16_000 * seconds))).astype(np.float32)


def batch_of(rows: list[Row], waves: dict[str, Wave], processor: Any, numbers: list[int], views: tuple[str, ...] = ("noisy",)) -> dict[str, Any]:
    data = Curriculum(rows, waves, processor, views, "pseudo_gt", numbers, [False] * len(numbers), 100)
    return collate([data[position] for position in range(len(data))], processor.tokenizer.pad_token_id)


def full_logits(model: Any, processor: Any, row: Row, wave: Wave | None, response: list[int]) -> torch.Tensor:
    """One unbatched, uncached pass over prompt and response; (T, V)."""
    text = family.chat_text(processor, row["prompt"], wave is not None)
    view = family.inputs(processor, [text], None if wave is None else [wave], 1)
    ids = torch.cat([view["input_ids"], torch.tensor([response])], 1)
    logits = model(**{**view, "input_ids": ids, "attention_mask": torch.ones_like(ids)}, use_cache=False).logits[0]
    return logits[-1 - len(response) : -1]
