"""One batch as all methods see it: what student and teacher read and say, each computed when first asked for and then shared.

A method is a function of a `Passes`. Two methods combined by weight therefore pay once for what both need: the audio and the prompt are
read once an item, and the group of rollouts, the reference and the Pseudo-GT all continue from that reading (its key-value cache).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tasks.items.answers import task_reward
from tasks.training import objectives
from tasks.training.data import RESPONSES
from tasks.training.families import family_of
from tasks.training.params import RolloutParams
from tasks.training.rollouts import Rollouts, end_ids, sample, uniforms
from tasks.training.scoring import Prefix, audio_positions, listening, read_along, teacher_forced, unpacked

Figures = dict[str, float]


@dataclass(frozen=True)
class Reading:
    """A view that a model has read.

    Args:
        prefix: where responses continue from.
        features: audio features the language model was given, (B, P, D); None without audio.
        positions: 1 where P holds sound, (B, P); None without audio.
    """

    prefix: Prefix
    features: Tensor | None
    positions: Tensor | None


@dataclass(frozen=True)
class Cast:
    """Who takes part in a run and how they are called upon.

    Args:
        teacher: the frozen model, on the student's device.
        teaching: opened around every pass of the teacher; where it is the student without its adapters, this takes them off.
        processor: the backbone's.
        rollouts: how responses are sampled.
        seed: of the rollouts.
        feature_variance: of the teacher's clean audio features, the unit of the representation term.
        kept: the teacher's distributions from disk, by item and path (tasks.training.cached_teacher).
        generate: where another engine samples, what puts the rollouts of a step's micro-batches into them, as `rollouts_<view>`.
    """

    teacher: Any
    processor: Any
    rollouts: RolloutParams
    seed: int
    feature_variance: float = 1.0
    kept: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    teaching: Callable[[], AbstractContextManager[Any]] = nullcontext
    generate: Callable[[Any, Sequence[dict[str, Any]]], None] | None = None


class Passes:
    """One micro-batch of a step.

    Args:
        student: the model in training.
        cast: teacher, processor and sampling.
        batch: from `data.collate`, with `totals` and `copies` of the whole step from the trainer.

    Attributes:
        figures: what methods have found worth watching, by name.
        counts: how many items a figure is the mean of, where not of all.
        right: how often the student is right about each item, (B,), once a method knows.
    """

    def __init__(self, student: Any, cast: Cast, batch: Mapping[str, Any]) -> None:
        self.student, self.cast, self.batch = student, cast, batch
        self.figures: Figures = {}
        self.counts: Figures = {}
        self.right: Tensor | None = None
        self._made: dict[tuple[Any, ...], Any] = {}

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    # -- readings

    def heard(self, view: str = "student") -> Reading:
        """The student's reading of a view, with gradients."""
        return self._once(("heard", view), lambda: self._read(self.student, view)[0])

    def taught(self, view: str = "clean") -> Reading:
        """The teacher's reading of a view."""

        def make() -> Reading:
            with self._as_teacher():
                return self._read(self.cast.teacher, view)[0]

        return self._once(("taught", view), make)

    def _read(self, model: Any, view: str, name: str | None = None) -> tuple[Reading, Tensor]:
        """A reading of a view, and the logits along the kept response `name` from the same pass."""
        tensors = self.batch[view]
        nothing = tensors["input_ids"][:, :0]
        with listening(model) as features:
            prefix, logits = read_along(model, tensors, *(self.response(name) if name else (nothing, nothing)))
        if not features:
            return Reading(prefix, None, None), logits
        token = family_of(self.cast.processor).audio_id(self.cast.processor)
        heard = unpacked(features[0], tensors, token)
        return Reading(prefix, heard, audio_positions(tensors, token, heard.shape[1])), logits

    def _along(self, model: Any, side: str, view: str, name: str) -> Tensor:
        """Logits along a kept response; the first one asked for is read in one pass with the prompt."""
        if (side, view) in self._made:
            return teacher_forced(model, self._made[side, view].prefix, *self.response(name))
        self._made[side, view], logits = self._read(model, view, name)
        return logits

    @contextmanager
    def _as_teacher(self) -> Iterator[None]:
        with torch.no_grad(), self.cast.teaching():
            yield

    # -- responses that are given

    def response(self, name: str) -> tuple[Tensor, Tensor]:
        """(ids, mask) of a response kept with the rows (`reference`, `pseudo_gt`), (B, T) each; an empty row where there is none."""
        return self.batch[name], self.batch[f"{name}_mask"]

    def student_along(self, name: str, view: str = "student") -> Tensor:
        """The student's logits along a kept response, (B, T, V), with gradients."""
        return self._once(("student", view, name), lambda: self._along(self.student, "heard", view, name))

    def teacher_along(self, name: str, view: str = "clean") -> Tensor:
        """The teacher's logits along a kept response, (B, T, V)."""

        def make() -> Tensor:
            with self._as_teacher():
                return self._along(self.cast.teacher, "taught", view, name)

        return self._once(("teacher", view, name), make)

    # -- responses of the student's own

    def rollouts(self, view: str = "student") -> Rollouts:
        """The student's group of sampled responses to a view; without gradient."""

        def make() -> Rollouts:
            if (ready := self.batch.get(f"rollouts_{view}")) is not None:
                return ready
            how = self.cast.rollouts
            draws = uniforms(self.batch["position"], how.group_size, how.max_new_tokens, self.cast.seed, view)
            prefix = self.heard(view).prefix.detach().repeat(how.group_size)
            return sample(self.student, prefix, end_ids(self.cast.teacher), self.pad, how.temperature, draws, how.group_size)

        return self._once(("rollouts", view), make)

    def student_on(self, rollouts: Rollouts, view: str = "student") -> Tensor:
        """The student's logits along rollouts, given a view, (B K, T, V), with gradients."""
        key = ("student on", view, id(rollouts))
        return self._once(key, lambda: teacher_forced(self.student, self.heard(view).prefix.repeat(rollouts.size), rollouts.ids, rollouts.mask))

    def teacher_on(self, rollouts: Rollouts, view: str = "clean") -> Tensor:
        """The teacher's logits along rollouts, given a view, (B K, T, V)."""

        def make() -> Tensor:
            with self._as_teacher():
                return teacher_forced(self.cast.teacher, self.taught(view).prefix.repeat(rollouts.size), rollouts.ids, rollouts.mask)

        return self._once(("teacher on", view, id(rollouts)), make)

    @cached_property
    def rewards(self) -> Tensor:
        """Task reward of each rollout from the trained view, (B, K); the share above 0 is how right the student is."""
        rollouts = self.rollouts()
        texts = self.cast.processor.tokenizer.batch_decode(rollouts.ids, skip_special_tokens=True)
        asked = [(options, answer) for options, answer in zip(self.batch["options"], self.batch["answer"], strict=True) for _ in range(rollouts.size)]
        earned = [task_reward(text, options, answer) for text, (options, answer) in zip(texts, asked, strict=True)]
        rewards = rollouts.grouped(torch.tensor(earned, dtype=torch.float32, device=rollouts.ids.device))
        self.right = (rewards > 0).float().mean(-1)
        signal = (rewards.amax(-1) > rewards.amin(-1)).float().mean()
        self.figures |= {"reward": rewards.mean().item(), "signal": signal.item(), "length": rollouts.mask.sum(-1).float().mean().item()}
        self.figures["unmatched"] = (rewards.abs() < 1).float().mean().item()  # rollouts that choose no option
        return rewards

    def answered(self) -> Tensor:
        """How right the student is about each item, (B,): the share of right rollouts, or whether its greedy tokens are a kept response's."""
        if self.right is None and (("rollouts", "student") in self._made or "rollouts_student" in self.batch):
            _ = self.rewards
        if self.right is None:
            name = next((name for name in RESPONSES if ("student", "student", name) in self._made), self.given)
            ids, mask = self.response(name)
            self.right = ((self.student_along(name).detach().argmax(-1) == ids) | (mask == 0)).all(-1).float()
        return self.right

    @property
    def given(self) -> str:
        """A kept response that every item has: the teacher's, or the Pseudo-GT."""
        return "reference" if bool(self.batch["has_reference"].all()) else "pseudo_gt"

    # -- means over the whole step

    @property
    def pad(self) -> int:
        """The padding token."""
        return int(self.cast.processor.tokenizer.pad_token_id)

    def flags(self, over: str) -> Tensor:
        """1 for the items a mean goes over: `items` (all), or a flag of the batch (`taught`, `trusted`, ..); (B,)."""
        first = self.batch["taught"]
        return torch.ones_like(first, dtype=torch.float32) if over == "items" else self.batch[over].float()

    def mean(self, values: Tensor, over: str = "items") -> Tensor:
        """Mean of per-item values (B,) over the flagged items of the whole step: every micro-batch of every process; 0 where there are none.

        The trainer divides by the micro-batches and averages over processes; `copies` undoes that, so that 1 x 8 equals 8 x 1.
        """
        flags = self.flags(over)
        kept = torch.where(flags.bool(), values, torch.zeros_like(values))  # not a product: 0 times inf would be no number
        return kept.sum() * self.batch["copies"] / max(self.batch["totals"][over], 1.0)

    def ratio(self, sums: Tensor, weights: Tensor, name: str) -> Tensor:
        """sum(sums) / sum(weights), (B,) each, for weights only the rollouts tell: over the whole step where `totals` has their sum as `name`."""
        total = self.batch["totals"].get(name)
        here = weights.sum().clamp(min=1)
        return sums.sum() / here if total is None else sums.sum() * self.batch["copies"] / max(total, 1.0)

    def watch(self, name: str, values: Tensor, over: str = "items") -> None:
        """Keep the mean of values (B,) over this micro-batch's flagged items under `name`."""
        flags = self.flags(over)
        self.figures[name], self.counts[name] = objectives.masked_mean(values.detach(), flags).item(), flags.sum().item()
