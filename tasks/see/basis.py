"""A noise basis at rest: the directions in which layers of an audio encoder perceive noise, how it is read from an activation, and provenance."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tasks.common.errors import UserError
from tasks.common.sha256sums import check_sum
from tasks.common.tables import write_bytes

SEE = Path("models/see")
MIXED = "mixed"
PROVENANCE = "provenance"  # key of the header


@dataclass(frozen=True)
class Basis:
    """Noise subspaces of an audio encoder. The noise in an activation A (frames, d) of a layer is `(A R + b) Q^T`.

    Attributes:
        layers: layer number to Q (d, r), float32: r >= 1 orthonormal directions; d is the width of the layer's FFN activation.
        meta: provenance, as texts: model, revision, noise_type, form, layers, ranks, clips, ...
        readers: layer number to R (d, r), where the form is `paired`; without, R is Q, as published.
        offsets: layer number to b (r,), where the form is `paired`; without, b is 0, as published.

    Raises ValueError where a layer has no direction, or there is no layer: such a basis would measure and remove nothing, silently.
    """

    layers: dict[int, Tensor]
    meta: Mapping[str, str]
    readers: dict[int, Tensor] = field(default_factory=dict)
    offsets: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers or any(directions.ndim != 2 or directions.shape[1] == 0 for directions in self.layers.values()):
            raise ValueError("a noise basis needs at least one direction in each of its layers")

    def noise(self, layer: int, activation: Tensor) -> Tensor:
        """`A R + b`: the noise (..., r) in an activation (..., d) of a layer, as coordinates of its directions; float32, on the activation's device.

        Raises UserError for an activation of another width.
        """
        reader = self.readers.get(layer, self.layers[layer]).to(activation.device)
        if activation.shape[-1] != len(reader):
            what = f"the basis is {len(reader)} wide, the layer {activation.shape[-1]}"
            raise UserError(f"noise basis, layer {layer}", what, "Take a basis of this model")
        found: Tensor = activation.float() @ reader
        return found + self.offsets[layer].to(activation.device) if layer in self.offsets else found

    def rest(self, layer: int, activation: Tensor, strength: float = 1.0) -> Tensor:
        """`A - strength (A R + b) Q^T`, float32: the activation (..., d) with its noise taken out."""
        return activation.float() - strength * (self.noise(layer, activation) @ self.layers[layer].to(activation.device).T)


def basis_path(noise_type: str | None) -> Path:
    """Where the stage `see` puts the basis of a noise type; None is the one of all types together."""
    return SEE / f"{MIXED if noise_type is None else quote(noise_type, safe=' ')}.safetensors"


def save_basis(basis: Basis, path: Path, **more: str) -> None:
    """Write a basis atomically; `meta`, and `more` beside it, go to the file's header. Equal bases give equal bytes."""
    parts = {"directions": basis.layers, "reader": basis.readers, "offset": basis.offsets}
    tensors = {f"{part}.{layer}": value.contiguous() for part, values in parts.items() for layer, value in values.items()}
    # One text: safetensors writes several in an order that differs between runs.
    write_bytes(path, save(tensors, metadata={PROVENANCE: json.dumps({**basis.meta, **more}, sort_keys=True)}))


def load_basis(path: Path) -> Basis:
    """Raises UserError where there is no such file, one that is not what was written, or one that holds no basis."""
    if not path.is_file():
        raise UserError(str(path), "no noise basis here", "Run python -m tasks.see")
    check_sum(path)
    parts: dict[str, dict[int, Tensor]] = {"directions": {}, "reader": {}, "offset": {}}
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})[PROVENANCE])
            for name in sorted(file.keys()):
                part, _, layer = name.partition(".")
                parts[part][int(layer)] = file.get_tensor(name).to(torch.float32)
        return Basis(dict(sorted(parts["directions"].items())), meta, parts["reader"], parts["offset"])
    except (SafetensorError, KeyError, ValueError):
        raise UserError(str(path), "the file holds no noise basis", "Run python -m tasks.see") from None
