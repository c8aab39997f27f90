"""Read a prompt once, then run any number of responses along it: rollouts, references and Pseudo-GTs share the reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from tasks.training.families import bare, projector


class Continued(DynamicLayer):
    """Keys and values of one layer that go on from those of a prefix, each row of it `copies` times in a run.

    The rows are repeated in the pass that extends them, so a recomputed pass keeps one copy of the prefix and not the group's.
    """

    def __init__(self, keys: Tensor, values: Tensor, copies: int = 1) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.copies = keys, values, copies

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """All keys and values, the given ones (N copies, heads, T, head size) last."""
        if self.copies > 1:
            self.keys, self.values = (states.repeat_interleave(self.copies, 0) for states in (self.keys, self.values))
            self.copies = 1
        keys, values = super().update(key_states, value_states)
        return keys, values


@dataclass(frozen=True)
class Prefix:
    """A prompt that a model has read.

    Args:
        layers: keys and values of each layer, (N / copies, heads, L, head size).
        mask: 1 on prompt tokens, (N, L), padded on the left.
        logits: what the model expects as the first response token, (N, V).
        copies: rows that share an entry of `layers`, in a run.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    logits: Tensor
    copies: int = 1

    def repeat(self, times: int) -> "Prefix":
        """Every row `times` times in a run; gradients reach the one reading behind them."""
        mask, logits = (tensor.repeat_interleave(times, 0) for tensor in (self.mask, self.logits))
        return replace(self, mask=mask, logits=logits, copies=self.copies * times)

    def detach(self) -> "Prefix":
        """The same reading without its gradient."""
        layers = tuple((keys.detach(), values.detach()) for keys, values in self.layers)
        return replace(self, layers=layers, logits=self.logits.detach())

    def cache(self) -> Cache:
        """A cache that grows apart from this prefix."""
        return Cache(layers=[Continued(keys, values, self.copies) for keys, values in self.layers])


def read(model: Any, view: dict[str, Tensor]) -> Prefix:
    """Encode the audio and the prompt of a view (`input_ids` (N, L), `attention_mask`, audio features where it has any)."""
    nothing = view["input_ids"][:, :0]
    return read_along(model, view, nothing, nothing)[0]


def read_along(model: Any, view: dict[str, Tensor], ids: Tensor, mask: Tensor) -> tuple[Prefix, Tensor]:
    """`read` and `teacher_forced` in one pass, which is cheaper than two: the prefix, and logits along the responses (N, T)."""
    length, cache = view["input_ids"].shape[1], DynamicCache()
    read_mask = torch.cat([view["attention_mask"], mask[:, :-1]], 1)
    given = {**view, "input_ids": torch.cat([view["input_ids"], ids[:, :-1]], 1), "attention_mask": read_mask}
    positions = (read_mask.cumsum(-1) - 1).clamp(min=0)
    with _last_logits(model, max(ids.shape[1], 1)):
        logits: Tensor = model(**given, position_ids=positions, past_key_values=cache, use_cache=True).logits
    layers = tuple((layer.keys[:, :, :length], layer.values[:, :, :length]) for layer in cache.layers)
    return Prefix(layers, view["attention_mask"], logits[:, 0]), logits[:, : ids.shape[1]]


def teacher_forced(model: Any, prefix: Prefix, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits that predict each token of a response given the prompt and the tokens before it: (N, T), (N, T) to (N, T, V)."""
    if ids.shape[1] == 1:
        return prefix.logits[:, None]
    out = step(model, prefix.cache(), prefix.mask, ids[:, :-1], mask[:, :-1])
    return torch.cat([prefix.logits[:, None], out], dim=1)


def step(model: Any, cache: Cache, read_mask: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits (N, T, V) after each of `ids` (N, T), which extend what `cache` holds and `read_mask` covers."""
    start = read_mask.sum(-1, keepdim=True)
    positions = start + torch.arange(ids.shape[1], device=ids.device)
    logits: Tensor = model(
        input_ids=ids, attention_mask=torch.cat([read_mask, mask], 1), position_ids=positions, past_key_values=cache, use_cache=True
    ).logits
    return logits


@contextmanager
def _last_logits(model: Any, places: int) -> Iterator[None]:
    """Within the block, logits are made of the last `places` alone: those of a whole prompt are a vocabulary for each of its tokens."""
    head = bare(model).get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, args: (args[0][:, -places:], *args[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def listening(model: Any) -> Iterator[list[Tensor]]:
    """Collects the audio features that the language model is given in each pass of the block, as the projector gives them."""
    features: list[Tensor] = []
    hook = projector(model).register_forward_hook(lambda module, args, out: features.append(out))
    try:
        yield features
    finally:
        hook.remove()


def unpacked(features: Tensor, view: dict[str, Tensor], audio_token: int) -> Tensor:
    """Audio features as (N, P, D): those of a family that packs clips end to end, (positions, D), are split and padded with 0."""
    if features.ndim == 3:
        return features
    held = (view["input_ids"] == audio_token).sum(-1)
    return pad_sequence(list(torch.split(features, held.tolist())), batch_first=True)


def audio_positions(view: dict[str, Tensor], audio_token: int, width: int) -> Tensor:
    """1 where a window of `width` audio positions holds sound of the view's clip, (N, width)."""
    held = (view["input_ids"] == audio_token).sum(-1, keepdim=True)
    return (torch.arange(width, device=held.device) < held).long()
