"""SEEN (arXiv 2601.07331): noise taken out of the audio encoder's activations, at every frame, while a model hears."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tasks.common.errors import UserError
from tasks.common.sha256sums import add_sum
from tasks.engines.base import SEEN
from tasks.see.activations import activation_modules
from tasks.see.basis import Basis, load_basis, save_basis

ON = "_seen"  # mark on a module whose output loses its noise


def install(model: Any, basis: Basis, strength: float) -> Callable[[], None]:
    """Switch SEEN on; returns what switches it off. See `seen`."""
    modules = activation_modules(model)
    if any(hasattr(module, ON) for module in modules.values()):
        raise UserError(
            "SEEN", "it is on already, and a second basis would work on what the first has left", "Leave the first block before the second"
        )
    if unknown := set(basis.layers) - set(modules):
        raise UserError(f"SEEN, layer {min(unknown)}", f"the audio encoder has layers {min(modules)} to {max(modules)}", "Take a basis of this model")
    hooks = ExitStack()
    for layer in basis.layers:
        setattr(modules[layer], ON, True)
        hooks.callback(delattr, modules[layer], ON)
        hooks.callback(modules[layer].register_forward_hook(_hook(basis, layer, strength)).remove)
    return hooks.close


def _hook(basis: Basis, layer: int, strength: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        return out if strength == 0.0 else basis.rest(layer, out, strength).to(out.dtype)

    return hook


@contextmanager
def seen(model: Any, basis: Basis, strength: float = 1.0) -> Iterator[None]:
    """Within the block the model hears without the noise of `basis`: `A - strength (A R + b) Q^T` at every frame of its layers.

    Works on any model of a known family: trained students, models inside peft's wrapper, any precision and device. Strength 0 is the model
    itself, to the bit. Raises UserError for a model without an audio tower, a basis of another model, and where SEEN is on already.
    """
    off = install(model, basis, strength)
    try:
        yield
    finally:
        off()


def save_seen(folder: Path, basis: Basis, strength: float) -> None:
    """Put SEEN into a `from_pretrained` folder: `load_generator("transformers", folder)` then hears with it."""
    save_basis(basis, folder / SEEN, strength=repr(float(strength)))
    add_sum(folder / SEEN)


def load_seen(model: Any, folder: Path) -> None:
    """Switch SEEN on for good, by the folder's `seen.safetensors`. Raises UserError where there is none, or one that `save_seen` has not written."""
    basis = load_basis(folder / SEEN)
    if "strength" not in basis.meta:
        raise UserError(str(folder / SEEN), "it says no strength", "Write it with tasks.see.seen.save_seen")
    install(model, basis, float(basis.meta["strength"]))
