"""Read a prompt once, then run any number of responses along it: rollouts, references and Pseudo-GTs share the reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tasks.engines import qwen2_audio as family


@dataclass(frozen=True)
class Prefix:
    """A prompt that a model has read.

    Args:
        layers: keys and values of each layer, (N, heads, L, head size).
        mask: 1 on prompt tokens, (N, L), padded on the left.
        logits: what the model expects as the first response token, (N, V).
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    logits: Tensor

    def repeat(self, times: int) -> "Prefix":
        """Every row `times` times in a run; gradients reach the one reading behind them."""
        layers = tuple((keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)) for keys, values in self.layers)
        return Prefix(layers, self.mask.repeat_interleave(times, 0), self.logits.repeat_interleave(times, 0))

    def detach(self) -> "Prefix":
        """The same reading without its gradient."""
        return Prefix(tuple((keys.detach(), values.detach()) for keys, values in self.layers), self.mask, self.logits.detach())

    def cache(self) -> DynamicCache:
        """A cache that grows apart from this prefix."""
        return DynamicCache(self.layers)


def read(model: Any, view: dict[str, Tensor]) -> Prefix:
    """Encode the audio and the prompt of a view (`input_ids` (N, L), `attention_mask`, audio features where it has any)."""
    mask = view["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(**view, position_ids=positions, past_key_values=DynamicCache(), use_cache=True)
    layers = tuple((layer[0], layer[1]) for layer in out.past_key_values)
    return Prefix(layers, mask, out.logits[:, -1])


def teacher_forced(model: Any, prefix: Prefix, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits that predict each token of a response given the prompt and the tokens before it: (N, T), (N, T) to (N, T, V)."""
    if ids.shape[1] == 1:
        return prefix.logits[:, None]
    out = step(model, prefix.cache(), prefix.mask, ids[:, :-1], mask[:, :-1])
    return torch.cat([prefix.logits[:, None], out], dim=1)


def step(model: Any, cache: DynamicCache, read_mask: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits (N, T, V) after each of `ids` (N, T), which extend what `cache` holds and `read_mask` covers."""
    start = read_mask.sum(-1, keepdim=True)
    positions = start + torch.arange(ids.shape[1], device=ids.device)
    logits: Tensor = model(
        input_ids=ids, attention_mask=torch.cat([read_mask, mask], 1), position_ids=positions, past_key_values=cache, use_cache=True
    ).logits
    return logits


@contextmanager
def listening(model: Any) -> Iterator[list[Tensor]]:
    """Collects the audio features (N, P, D) that the language model is given in each pass of the block; P covers the whole window."""
    features: list[Tensor] = []
    hook = family.projector(getattr(model, "module", model)).register_forward_hook(lambda module, args, out: features.append(out))
    try:
        yield features
    finally:
        hook.remove()


def audio_positions(view: dict[str, Tensor], audio_token: int, width: int) -> Tensor:
    """1 where a window of `width` audio positions holds sound of the view's clip, (N, width)."""
    held = (view["input_ids"] == audio_token).sum(-1, keepdim=True)
    return (torch.arange(width, device=held.device) < held).long()
