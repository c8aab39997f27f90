"""Rollouts: responses sampled from a model's own reading of the prompt, with the log-probabilities they were sampled at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.common.seeds import rng_of
from tasks.training.scoring import Prefix, step


@dataclass(frozen=True)
class Rollouts:
    """K sampled responses for each of B items, in rows (B K): item by item, its group in a run.

    Args:
        ids: response tokens, (B K, T), padded on the right.
        mask: 1 on response tokens, their ending token included, (B K, T).
        logprobs: log-probability each token was sampled at (the behaviour policy's, at the sampling temperature), (B K, T); 0 on padding.
        size: K.
    """

    ids: Tensor
    mask: Tensor
    logprobs: Tensor
    size: int

    def grouped(self, values: Tensor) -> Tensor:
        """(B K, ...) as (B, K, ...)."""
        return values.view(-1, self.size, *values.shape[1:])


def end_ids(model: Any) -> list[int]:
    """Tokens that end a response, from the model's generation config."""
    end: int | Sequence[int] = model.generation_config.eos_token_id
    return [end] if isinstance(end, int) else list(end)


def uniforms(positions: Sequence[int], group_size: int, max_new_tokens: int, *seed: Any) -> Tensor:
    """The draws of the rollouts of examples number `positions` of a run, (B K, T): an example's are its own, whatever batch it falls in."""
    draws = [rng_of("rollouts", *seed, position).random((group_size, max_new_tokens)) for position in positions]
    return torch.from_numpy(np.concatenate(draws))


@torch.no_grad()
def sample(model: Any, prefix: Prefix, ends: Sequence[int], pad: int, temperature: float, draws: Tensor, group_size: int = 1) -> Rollouts:
    """One response for each row of `prefix`, of at most as many tokens as `draws` (N, T) has; draw t picks token t (inverse CDF).

    Sampling row by row from draws of its own makes a rollout the same in any batch, on any number of processes.
    """
    device = prefix.logits.device
    stops, draws = torch.tensor(list(ends), device=device), draws.to(device)
    cache, seen, logits = prefix.cache(), prefix.mask, prefix.logits
    alive = torch.ones(len(logits), dtype=torch.bool, device=device)
    ids: list[Tensor] = []
    masks: list[Tensor] = []
    logprobs: list[Tensor] = []
    while True:
        logs = (logits.float() / temperature).log_softmax(-1)
        mass = logs.double().exp().cumsum(-1)
        # The last entry stands in for 1, which the sum of the probabilities misses by rounding.
        token = torch.searchsorted(mass, draws[:, len(ids), None] * mass[:, -1:], right=True).clamp(max=logits.shape[-1] - 1)
        ids.append(torch.where(alive[:, None], token, pad))
        masks.append(alive[:, None].to(seen.dtype))
        logprobs.append(logs.gather(-1, token) * alive[:, None])
        alive = alive & ~torch.isin(token[:, 0], stops)
        if len(ids) == draws.shape[1] or not alive.any():
            return Rollouts(torch.cat(ids, 1), torch.cat(masks, 1), torch.cat(logprobs, 1), group_size)
        logits = step(model, cache, seen, ids[-1], masks[-1])[:, -1]
        seen = torch.cat([seen, masks[-1]], 1)
