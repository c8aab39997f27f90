"""Parameters of the training stage: one sub-section a method, each complete, so a change in one retrains that one alone."""

from typing import Any, Literal

from pydantic import Field, field_validator

from tasks.common.params import Section


class OptimiserParams(Section):
    """How a method is optimised: AdamW under a warm-up and a schedule, over the curriculum's stages in order."""

    seed: int
    steps: int = Field(gt=0)
    batch_items: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "constant_with_warmup"]
    warmup_steps: int = Field(ge=0)
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    ema: float = Field(ge=0, lt=1)
    order: Literal["cumulative", "sequential"]
    clean_share: float = Field(ge=0, lt=1)


class EchoDistillParams(OptimiserParams):
    """EchoDistill (arXiv 2605.23954); docs/training.md says what each weight does."""

    group_size: int = Field(gt=1)
    temperature: float = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    shaping: Literal["off", "instance", "candidate"]
    beta: float = Field(ge=0)
    clip: float = Field(gt=0, lt=1)
    lambda_policy: float = Field(ge=0)
    lambda_distill: float = Field(ge=0)
    lambda_features: float = Field(ge=0)
    teacher_gate: bool

    @field_validator("shaping", mode="before")
    @classmethod
    def bare_off(cls, value: Any) -> Any:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value


class CaadParams(OptimiserParams):
    """CAAD (arXiv 2606.23052); `weight` is its lambda. `cached_tokens` has the teacher's k likeliest tokens kept on disk, null runs it live."""

    negative: Literal["silence", "drop_audio"]
    alpha: float = Field(ge=0)
    tau: float = Field(gt=0)
    weight: float = Field(ge=0, le=1)
    cached_tokens: int | None = Field(default=None, gt=0)


class TrainingParams(Section):
    """The `training` section."""

    threads: int = Field(gt=0)
    log_every: int = Field(gt=0)
    cached_views: int = Field(gt=0)
    validation_rows: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    echodistill: EchoDistillParams
    caad: CaadParams
