"""Parameters of the backbone stage."""

from pathlib import Path

from pydantic import ConfigDict, Field

from tasks.common.params import Section


class ModelParams(Section):
    """Size of the embedded model; what `build_model` needs."""

    width: int = Field(64, ge=32)
    head_dim: int = Field(32, ge=1)
    audio_layers: int = Field(2, ge=1)
    text_layers: int = Field(2, ge=1)
    text_ffn: int = Field(128, ge=1)
    initial_std: float = Field(0.06, gt=0)
    seed: int = 0


class AugmentParams(Section):
    """What makes few voices sound like many."""

    speeds: list[float] = Field(min_length=1)
    tempo: float = Field(ge=0, lt=0.5)
    gain_db: float = Field(ge=0)
    floor_db: tuple[float, float]
    equaliser: float = Field(ge=0)
    frequency_masks: int = Field(ge=0)
    frequency_mask_bins: int = Field(ge=0)
    time_mask_frames: int = Field(ge=0)


class TrainingParams(Section):
    """The loop. The bits of the result hang on the number of threads, so it is a parameter too."""

    threads: int = Field(ge=1)
    seed: int
    text_steps: int = Field(ge=0)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    audio_learning_rate: float = Field(gt=0)
    text_learning_rate: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    language_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    warm_up: int = Field(ge=1)
    answer_weight: float = Field(gt=0)
    grow: float = Field(ge=0, le=1)
    word_loss_until: float = Field(ge=0, le=1)
    text_every: int = Field(ge=2)
    question_every: int = Field(ge=2)
    log_every: int = Field(ge=1)


class BackboneParams(Section):
    """Section `backbone` of params.yaml; `from` names a pretrained model instead of training one."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str | None = Field(None, alias="from")
    window_s: int = Field(ge=1, le=30)
    mel_bins: int = Field(ge=16, le=128)
    max_words: int = Field(ge=1)
    questions: Path
    options: int = Field(ge=2, le=10)
    validation_questions: int = Field(ge=1)
    model: ModelParams
    augment: AugmentParams
    training: TrainingParams
