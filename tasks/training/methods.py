"""Every method by name, and their combination by weight.

A method is a module with `views(params)` (how an item is put to the models beside what the student hears), `responses(params)` (what a
row must have) and `loss(passes, params)`. A further one is a file, its parameters, and a line here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tasks.training import caad, echodistill, gkd, grpo, kd, objectives, sft, xopd
from tasks.training.params import CombinationParams, RunParams, TrainingParams, run_params
from tasks.training.passes import Passes


class Method(Protocol):
    """What a method's module gives; `params` is its section."""

    def views(self, params: Any) -> tuple[str, ...]: ...
    def responses(self, params: Any) -> tuple[str, ...]: ...
    def loss(self, passes: Passes, params: Any) -> Tensor: ...


METHODS: Mapping[str, Method] = {"sft": sft, "kd": kd, "grpo": grpo, "echodistill": echodistill, "caad": caad, "xopd": xopd, "gkd": gkd}


@dataclass(frozen=True)
class Part:
    """One method of a run, with its weight in the loss."""

    name: str
    params: RunParams
    weight: float

    @property
    def method(self) -> Method:
        """Its module."""
        return METHODS[self.name]


@dataclass(frozen=True)
class Objective:
    """What a run minimises: sum of weight x loss over its parts, and lambda_features x the distance of the audio features."""

    parts: tuple[Part, ...]
    lambda_features: float

    @property
    def views(self) -> tuple[str, ...]:
        """All views its parts need, each once."""
        needed = [view for part in self.parts for view in part.method.views(part.params)]
        return tuple(dict.fromkeys([*needed, *(["clean"] if self.lambda_features else [])]))

    @property
    def sampled(self) -> tuple[str, ...]:
        """All views that the student answers by itself."""
        return tuple(dict.fromkeys(view for part in self.parts for view in part.params.sampled))

    @property
    def responses(self) -> tuple[str, ...]:
        """All responses a row must have."""
        return tuple(dict.fromkeys(response for part in self.parts for response in part.method.responses(part.params)))

    def __call__(self, passes: Passes) -> Tensor:
        """The loss of one micro-batch, a scalar."""
        total: Tensor = torch.zeros(())
        for part in self.parts:
            total = total + part.weight * part.method.loss(passes, part.params)
        return total + self.lambda_features * feature_loss(passes) if self.lambda_features else total


def objective(training: TrainingParams, name: str, own: RunParams) -> Objective:
    """The objective of the run called `name`, a method or `combination`."""
    weights = own.weights if isinstance(own, CombinationParams) else {name: 1.0}
    parts = [Part(part, own if part == name else run_params(training, part), weight) for part, weight in weights.items()]
    return Objective(tuple(parts), own.lambda_features)


def feature_loss(passes: Passes) -> Tensor:
    """The representation term: squared error of the student's audio features to the clean teacher's, in units of the teacher's variance. Ours."""
    heard, clean = passes.heard(), passes.taught("clean")
    assert heard.features is not None and clean.features is not None and heard.positions is not None and clean.positions is not None
    width = min(heard.positions.shape[1], clean.positions.shape[1])
    both = heard.positions[:, :width] * clean.positions[:, :width]
    distance = objectives.feature_distance(heard.features[:, :width], clean.features[:, :width], both, passes.cast.feature_variance)
    passes.watch("features", distance, "taught")
    return passes.mean(distance, "taught")


def flags(batches: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many items of some batches each mean goes over: the `totals` of a step."""
    names = [name for name, value in batches[0].items() if isinstance(value, Tensor) and value.dtype == torch.bool]
    counted = {name: float(sum(batch[name].sum().item() for batch in batches)) for name in names}
    return {"items": float(sum(len(batch["taught"]) for batch in batches)), **counted}
