"""Less memory for more work: layers whose inner values are computed again in the backward pass (arXiv 1604.06174).

The checkpointing of transformers takes the key-value cache away, and with it the reading that a group of responses shares. Here a layer
is given the keys and values it continues from and gives back its own, so that they take part in the recomputation as its other tensors do.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from tasks.training.scoring import Continued


def recompute(decoder: Any, audio_tower: Any) -> None:
    """Keep, of every layer of both, what goes in and comes out alone. Passes without gradients stay as they are."""
    for layers, forward in ((decoder.layers, _continue), (audio_tower.layers, _encode)):
        for number, layer in enumerate(layers):
            layer.forward = partial(forward, layer.forward, number)


def _encode(forward: Any, number: int, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _continue(forward: Any, number: int, hidden_states: Tensor, *, past_key_values: Cache | None = None, **kwargs: Any) -> Tensor:
    """One decoder layer. A pass that starts a cache fills it; one that goes on from a cache leaves it as it was, since nothing follows."""
    if not torch.is_grad_enabled():
        return forward(hidden_states, past_key_values=past_key_values, **kwargs)
    held = past_key_values.layers[number] if past_key_values is not None and number < len(past_key_values.layers) else None

    def run(hidden: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        layer = DynamicLayer() if held is None else Continued(before[0], before[1], held.copies)
        out = forward(hidden, past_key_values=layer, **kwargs)
        return (out, layer.keys, layer.values) if held is None else (out,)

    before = () if held is None else (held.keys, held.values)
    out, *cached = checkpoint(run, hidden_states, *before, use_reentrant=False, preserve_rng_state=False)
    if cached and past_key_values is not None:
        past_key_values.update(*cached, number)
    return out
