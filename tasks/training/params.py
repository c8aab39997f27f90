"""Parameters of training: what every run has, laid under each method's own.

`training.common` holds for every method; a method's section says what it adds or has otherwise. A change in a section therefore
retrains that method alone, one in `common` all of them.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.common.errors import UserError
from tasks.common.params import Section, load, validate

Response = Literal["reference", "pseudo_gt"]


class RolloutParams(Section):
    """How the student's own responses are sampled."""

    group_size: int = Field(gt=1, description="rollouts an item, whose rewards are compared with each other")
    temperature: float = Field(gt=0, description="of the sampling; log-probabilities are scored at it too")
    max_new_tokens: int = Field(gt=0, description="a rollout that rambles longer is cut there")


class RunParams(Section):
    """What every method's run has: optimiser, curriculum, sampling, and the representation term."""

    seed: int = Field(description="of the order, the clean turns and the rollouts")
    steps: int = Field(gt=0, description="optimiser steps")
    batch_items: int = Field(gt=0, description="items a step, over all micro-batches and processes")
    accumulate: int = Field(gt=0, description="micro-batches a step")
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "constant_with_warmup"]
    warmup_steps: int = Field(ge=0)
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    ema: float = Field(ge=0, lt=1, description="decay of the average of the weights that is kept; 0 keeps the last weights")
    order: Literal["cumulative", "sequential"]
    clean_share: float = Field(ge=0, lt=1, description="of the examples are heard clean")
    lambda_features: float = Field(ge=0, description="weight of the representation term, available to every method")
    rollouts: RolloutParams


class SftParams(RunParams):
    """Supervised fine-tuning on noisy audio: cross-entropy of clean labels."""

    response: Response = Field(description="the labels: the Pseudo-GT (exact where it is written from the true answer), or the teacher's reference")


class KdParams(RunParams):
    """Distillation of the clean teacher: its distributions along its own tokens, CAAD's loss with alpha = 0."""

    response: Response = Field(description="what both are forced along: the teacher's reference, or the Pseudo-GT")
    tau: float = Field(gt=0, description="temperature of both distributions")
    weight: float = Field(ge=0, le=1, description="of the distributions against the cross-entropy")
    teacher_gate: bool = Field(description="no distillation where the teacher is wrong on the clean clip")


class PolicyParams(RunParams):
    """What methods with a task reward share."""

    loss: Literal["grpo", "dapo", "dr_grpo", "gspo"] = Field(description="the surrogate; docs/training.md has the four")
    clip: float = Field(gt=0, lt=1, description="trust interval below a ratio of one")
    clip_high: float = Field(gt=0, description="above it; DAPO's clip-higher where larger than clip")
    kl_weight: float = Field(ge=0, description="of the KL to the un-adapted model on the same audio; 0 leaves it out")


class GrpoParams(PolicyParams):
    """GRPO on the task reward alone."""


class EchoDistillParams(PolicyParams):
    """EchoDistill (arXiv 2605.23954)."""

    scorer: Literal["teacher", "behaviour"] = Field(
        description="whose log-probability a rollout's is compared with: the clean teacher's (the paper) or the sampling student's"
    )
    shaping: Literal["off", "instance", "candidate"] = Field(description="bonus of right rollouts: none, as published (inert), or ours")
    beta: float = Field(ge=0, description="size of the bonus")
    lambda_policy: float = Field(ge=0)
    lambda_distill: float = Field(ge=0)
    teacher_gate: bool = Field(description="no distillation where the teacher is wrong on the clean clip")

    @field_validator("shaping", mode="before")
    @classmethod
    def bare_off(cls, value: Any) -> Any:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value


class CaadParams(RunParams):
    """CAAD (arXiv 2606.23052)."""

    negative: Literal["silence", "drop_audio", "keep_transcript"] = Field(
        description="what z- is given: silence, no audio, or silence and the transcript as text"
    )
    alpha: float = Field(ge=0, description="weight of the contrast; 0 is plain distillation")
    alpha_schedule: Literal["fixed", "difficulty"] = Field(description="the same alpha for all, or scaled by the item's difficulty")
    tau: float = Field(gt=0, description="temperature of both distributions")
    weight: float = Field(ge=0, le=1, description="lambda: of the contrast against the cross-entropy")
    cached_tokens: int | None = Field(default=None, gt=0, description="the teacher's k likeliest tokens and a tail from disk; null runs it live")


class XopdParams(RunParams):
    """X-OPD (arXiv 2603.24596)."""

    estimator: Literal["sampled", "full"] = Field(description="of the reverse KL: the sampled token (the paper) or the whole vocabulary")
    lambda_im: float = Field(ge=0, le=1, description="lambda: of the branch that reads; the one that hears has the rest")


class GkdParams(RunParams):
    """On-policy distillation with the forward KL of the clean teacher along the student's rollouts."""

    tau: float = Field(gt=0, description="temperature of both distributions")


class CombinationParams(RunParams):
    """Several methods in one run, each as its own section says, run as this section says."""

    weights: dict[Literal["sft", "kd", "grpo", "echodistill", "caad", "xopd", "gkd"], float] = Field(min_length=1)


METHODS: dict[str, type[RunParams]] = {
    "sft": SftParams,
    "kd": KdParams,
    "grpo": GrpoParams,
    "echodistill": EchoDistillParams,
    "caad": CaadParams,
    "xopd": XopdParams,
    "gkd": GkdParams,
    "combination": CombinationParams,
}


class TrainingParams(Section):
    """The `training` section; methods' sections are read by `run_params`."""

    threads: int = Field(gt=0)
    log_every: int = Field(gt=0)
    cached_views: int = Field(gt=0)
    validation_rows: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    teacher: Path = Field(description="folder of the frozen teacher; the backbone in self-distillation")
    common: dict[str, Any]
    sft: dict[str, Any]
    kd: dict[str, Any]
    grpo: dict[str, Any]
    echodistill: dict[str, Any]
    caad: dict[str, Any]
    xopd: dict[str, Any]
    gkd: dict[str, Any]
    combination: dict[str, Any]

    @model_validator(mode="after")
    def _every_method_is_right(self) -> "TrainingParams":
        """A mistake in any method's section shows before a build starts, not when its turn comes."""
        for method in METHODS:
            run_params(self, method)
        return self


def laid(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `under`, key by key."""
    merged = dict(under)
    for key, value in over.items():
        merged[key] = laid(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
    return merged


def run_params(training: TrainingParams, method: str) -> RunParams:
    """The parameters of one method's run. Raises UserError for an unknown method, or naming the key that is wrong."""
    if method not in METHODS:
        raise UserError(f"python -m tasks.training {method}".rstrip(), "a method is needed", f"Choose one of: {', '.join(METHODS)}")
    return validate(METHODS[method], laid(training.common, getattr(training, method)), f"training.{method} (over training.common)")


def training_params() -> TrainingParams:
    """The section in force."""
    return load("training", TrainingParams)
