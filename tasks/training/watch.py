"""What is seen of a run while it trains: the bar, the lines of train_log.jsonl, TensorBoard, and the average of the weights."""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import TrainerCallback

from tasks.common.fanout import progress
from tasks.training.processes import here

Figures = dict[str, float]
Probe = Callable[[Any], Figures]


class Tally:
    """Weighted sums of figures, so that their means are the whole step's whatever its micro-batches and processes.

    A figure that is not a finite number is left out of its mean, and one that nothing counted for has none.
    """

    def __init__(self, sums: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.sums: dict[str, tuple[float, float]] = dict(sums or {})

    def add(self, name: str, value: float, weight: float) -> None:
        """Count `value` in with `weight`."""
        if math.isfinite(value) and weight:
            total, count = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (total + value * weight, count + weight)

    def means(self) -> Figures:
        """To six decimals, the order of the names that of their first figure."""
        return {name: round(total / count, 6) for name, (total, count) in self.sums.items()}


def merged(sums: Iterable[Mapping[str, tuple[float, float]]]) -> Tally:
    """The tallies of all processes as one."""
    one = Tally()
    for each in sums:
        for name, (total, count) in each.items():
            before, counted = one.sums.get(name, (0.0, 0.0))
            one.sums[name] = (before + total, counted + count)
    return one


class Watch(TrainerCallback):
    """A live bar, a line of means every `every` steps in `lines`, the same to TensorBoard; seen on the main process alone.

    Args:
        name: of the run.
        every: steps a line.
        board: folder of TensorBoard's events; None writes none.
        probe: validation questions put to the model on the way; None asks none.
        probe_every: steps until they are asked again.
    """

    def __init__(self, name: str, every: int, board: Path | None = None, probe: Probe | None = None, probe_every: int = 0) -> None:
        self.name, self.every, self.board, self.probe, self.probe_every = name, every, board, probe, probe_every
        self.lines: list[Figures] = []
        self.tally = Tally()
        self.main = here().is_main_process
        self.shown: Figures = {}
        self.bar: tqdm[Any] | None = None
        self.writer: SummaryWriter | None = None

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; every process calls it."""
        self._gather()
        return {"lines": self.lines, "sums": self.tally.sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        if self.main:
            self.lines, self.tally = list(state["lines"]), Tally(state["sums"])

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.main:
            self.bar = progress(state.max_steps, self.name, "step")
            self.bar.update(state.global_step)
            if self.board:
                if not state.global_step:
                    shutil.rmtree(self.board, ignore_errors=True)
                self.writer = SummaryWriter(str(self.board), purge_step=state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        if self.bar is not None:
            self.bar.update()
        if step % self.every == 0 or step == state.max_steps:
            self._gather()
            if self.main:
                rate = kwargs["lr_scheduler"].get_last_lr()[0]
                self._show(step, {"learning_rate": float(f"{rate:.6g}"), **self.tally.means()})
            self.tally = Tally()
        # The last step's model is asked more questions, once it is published.
        if self.probe and self.probe_every and step % self.probe_every == 0 and step < state.max_steps:
            answers = self.probe(kwargs["model"])  # every process: sharded weights are only there where all take part
            if self.main:
                self._show(step, answers)

    def close(self) -> None:
        """After a run, and after one that failed: what is said of it then stands below its bar."""
        if self.bar is not None:
            self.bar.close()
        if self.writer:
            self.writer.close()

    def _gather(self) -> None:
        """What all processes counted, to the main one."""
        everyone = gather_object([self.tally.sums])
        self.tally = merged(everyone) if self.main else Tally()

    def _show(self, step: int, figures: Figures) -> None:
        self.lines.append({"step": step, **figures})
        self.shown |= figures
        if self.bar is not None:
            self.bar.set_postfix({key: f"{value:.3g}" for key, value in self.shown.items() if key != "learning_rate"})
        if self.writer:
            for key, value in figures.items():
                self.writer.add_scalar(key, value, step)


class Average(TrainerCallback):
    """Exponential moving average of the weights that learn, which the model takes over at the end."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint, whole where the weights are sharded; every process calls it."""
        return {"mean": [mean.full_tensor() if isinstance(mean, DTensor) else mean for mean in self.mean]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.mean = list(state["mean"])

    @torch.no_grad()
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        weights = _learning(kwargs["model"])
        if not self.mean:
            self.mean = [weight.detach().clone() for weight in weights]
        self.mean = [_as(weight, mean) for weight, mean in zip(weights, self.mean, strict=True)]

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for mean, weight in zip(self.mean, _learning(kwargs["model"]), strict=True):
            mean.lerp_(weight, 1.0 - self.decay)

    @torch.no_grad()
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for mean, weight in zip(self.mean, _learning(kwargs["model"]), strict=True):
            weight.copy_(mean)


def _learning(model: Any) -> list[Tensor]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def _as(weight: Tensor, mean: Tensor) -> Tensor:
    """`mean` where `weight` is, sharded as it is."""
    if isinstance(weight, DTensor) and not isinstance(mean, DTensor):
        return distribute_tensor(mean.to(weight.device), weight.device_mesh, weight.placements)
    return mean.to(weight.device)
