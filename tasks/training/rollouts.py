"""Rollouts: responses sampled from the student's own reading of the prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tasks.training.scoring import Prefix, step


def end_ids(model: Any) -> list[int]:
    """Tokens that end a response, from the model's generation config."""
    end: int | Sequence[int] = model.generation_config.eos_token_id
    return [end] if isinstance(end, int) else list(end)


@torch.no_grad()
def sample(model: Any, prefix: Prefix, ends: Sequence[int], pad: int, temperature: float, max_new_tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    """One response for each row of `prefix`: ids (N, T) and their mask (N, T), which covers the ending token.

    T is at most `max_new_tokens`. The draws come from `seed` alone, never from the global generator.
    """
    device = prefix.logits.device
    generator = torch.Generator(device).manual_seed(seed)
    stops = torch.tensor(list(ends), device=device)
    cache, seen, logits = prefix.cache(), prefix.mask, prefix.logits
    alive = torch.ones(len(logits), dtype=torch.bool, device=device)
    ids, masks = [], []
    while True:
        token = torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=generator)
        ids.append(torch.where(alive[:, None], token, pad))
        masks.append(alive[:, None].to(seen.dtype))
        alive = alive & ~torch.isin(token[:, 0], stops)
        if len(ids) == max_new_tokens or not alive.any():
            return torch.cat(ids, 1), torch.cat(masks, 1)
        logits = step(model, cache, seen, ids[-1], masks[-1])[:, -1]
        seen = torch.cat([seen, masks[-1]], 1)
