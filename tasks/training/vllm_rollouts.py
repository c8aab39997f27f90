"""Rollouts from vLLM: the group of every item of a step in one call, with the student's weights handed over before it.

vLLM draws from a seed of each example and not from the numbers that `rollouts.sample` takes, so the samples differ from those of
transformers; their log-probabilities, which the policy ratio is taken against, are vLLM's own at the sampling temperature.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tasks.common.errors import UserError
from tasks.common.seeds import seed_of
from tasks.engines.vllm_engine import VllmGenerator
from tasks.engines.vllm_folder import WEIGHTS, vllm_folder
from tasks.training.adapters import merged_weights
from tasks.training.data import Curriculum
from tasks.training.families import TRAINABLE, folder_family
from tasks.training.params import RunParams
from tasks.training.rollouts import Rollouts

POSITIONS = "audio_tower.embed_positions.weight"
SHARED_MEMORY = Path("/dev/shm")


class VllmRollouts:
    """A `Cast.generate`: puts `rollouts_<view>` into each micro-batch of a step.

    Args:
        backbone: folder that the engine starts with.
        dataset: what an example of the run is asked.
        views: which are sampled.
        own: group size, temperature, length, seed and the engine's options.

    Raises UserError for a family whose weights cannot be handed over, for sharded weights, and where vLLM cannot start.
    """

    def __init__(self, backbone: Path, dataset: Curriculum, views: Sequence[str], own: RunParams) -> None:
        if folder_family(backbone).__name__.rpartition(".")[2] != TRAINABLE[0]:
            raise UserError("rollouts.engine: vllm", f"weights are handed over for {TRAINABLE[0]} alone", "Use engine: transformers")
        if os.environ.get("ACCELERATE_USE_FSDP", "false") == "true":
            raise UserError("rollouts.engine: vllm", "sharded weights (FSDP) are not handed over", "Use engine: transformers, or data parallelism")
        self.dataset, self.views, self.own = dataset, views, own
        self.engine = VllmGenerator(backbone, own.rollouts.engine_options, logprobs_mode="processed_logprobs")
        self.scratch = tempfile.TemporaryDirectory(prefix="weights-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
        self.folder = Path(self.scratch.name)
        folder = vllm_folder(backbone).resolve()
        self.positions = _positions(folder) if folder != backbone.resolve() else {}
        for path in folder.iterdir():
            if not path.name.startswith("model"):
                (self.folder / path.name).symlink_to(path)  # the engine looks for its processor where its weights are

    def __call__(self, student: Any, batches: Sequence[dict[str, Any]]) -> None:
        """Hand over the student's weights and sample for all `batches`."""
        path = self.folder / WEIGHTS
        path.unlink(missing_ok=True)  # not written over: the engine may still have the old ones mapped
        save_file({**merged_weights(student), **self.positions}, path, metadata={"format": "pt"})
        self.engine.reload(self.folder)
        for view in self.views:
            self._sample(view, batches)

    def _sample(self, view: str, batches: Sequence[dict[str, Any]]) -> None:
        how, seed = self.own.rollouts, self.own.seed
        examples = [example for batch in batches for example in zip(batch["position"], batch["row"], batch["heard"], strict=True)]
        requests = [self.dataset.request(heard if view == "student" else view, row, position) for position, row, heard in examples]
        seeds = [seed_of("rollouts", seed, view, position) >> 1 for position, _, _ in examples]
        found = self.engine.sample(requests, n=how.group_size, temperature=how.temperature, max_new_tokens=how.max_new_tokens, seeds=seeds)
        samples = iter([sample for group in found for sample in group])
        for batch in batches:
            own = [next(samples) for _ in range(len(batch["position"]) * how.group_size)]
            batch[f"rollouts_{view}"] = _rollouts(own, how.group_size, self.dataset.processor.tokenizer.pad_token_id, batch["taught"].device)


def _rollouts(samples: Sequence[tuple[list[int], list[float]]], size: int, pad: int, device: torch.device) -> Rollouts:
    ids = [torch.tensor(tokens, device=device) for tokens, _ in samples]
    logprobs = [torch.tensor(values, dtype=torch.float32, device=device) for _, values in samples]
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    return Rollouts(pad_sequence(ids, batch_first=True, padding_value=pad), mask, pad_sequence(logprobs, batch_first=True), size)


def _positions(folder: Path) -> dict[str, Tensor]:
    """The audio tower's table of positions in vLLM's copy of a folder, which is longer than the model's; training never changes it."""
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return {POSITIONS: file.get_tensor(POSITIONS)}
