"""Section `evaluate` of the parameters, and the two lists of tasks that the figures are made of."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tasks.common.params import Section
from tasks.engines.options import EngineOptions

BASE = "base"
CORE = ("first", "last", "count", "present", "question")  # the first part of a task: `question/sound` is a corpus' own question
FrontEnd = Literal["seen", "spectral_gating", "wavelet", "rnnoise"]


class EvaluateParams(Section):
    """Which models are asked what.

    Attributes:
        methods: models compared; the first is `base` (models/backbone), any other is models/<method>. `caad@1` is another seed of `caad`.
        engine: what runs them (tasks.engines).
        engine_options: where it runs and how (tasks.engines.options); nothing here changes an answer.
        front_ends: by method, what is put before it: `seen` (projections in its encoder) or a denoiser of tasks.denoise.
        front_end_share: of the noisy mixtures of every noise type and SNR that front ends are asked about.
        items_per_mixture: core questions asked of one noisy mixture.
        control_items: core questions asked again with silence, another clip's audio, no audio, and the transcript.
        unseen_items: questions on each axis of generalisation.
        snr_db: levels of the grid; null is every level of the mixtures.
        noise_types: types of the grid; null is every type.
        max_new_tokens: longest answer.
        quality_per_cell: mixtures of every noise type and SNR whose sound is measured.
        bootstrap: resamples of the clips behind every interval.
        shard_size: questions in one shard of work.
    """

    methods: tuple[str, ...]
    engine: Literal["transformers", "vllm", "openai"] = "transformers"
    engine_options: EngineOptions = Field(default_factory=EngineOptions)
    front_ends: dict[str, tuple[FrontEnd, ...]] = Field(default_factory=dict)
    front_end_share: float = Field(default=1.0, gt=0, le=1)
    items_per_mixture: int = Field(ge=1)
    control_items: int = Field(ge=1)
    unseen_items: int = Field(default=0, ge=0)
    snr_db: tuple[float, ...] | None = None
    noise_types: tuple[str, ...] | None = None
    max_new_tokens: int = Field(ge=1)
    quality_per_cell: int = Field(default=0, ge=0)
    bootstrap: int = Field(ge=100)
    shard_size: int = Field(ge=1)

    @field_validator("methods")
    @classmethod
    def _base_first(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if methods[:1] != (BASE,):
            raise ValueError(f"'{BASE}' must come first: agreement and gains are measured against it")
        if len(set(methods)) != len(methods):
            raise ValueError("a method is listed twice")
        for method in methods:
            if not re.fullmatch(r"\w[\w.-]*(@\d+)?", method) or method.startswith(f"{BASE}@"):
                raise ValueError(f"'{method}' is neither a folder of models nor one with a seed (caad@1)")
        return methods

    @model_validator(mode="after")
    def _front_ends_of_methods(self) -> "EvaluateParams":
        for method, names in self.front_ends.items():
            if method not in self.methods:
                raise ValueError(f"front_ends: '{method}' is none of the methods ({', '.join(self.methods)})")
            if len(set(names)) != len(names):
                raise ValueError(f"front_ends: '{method}' has one twice")
            if "seen" in names and self.engine != "transformers":
                raise ValueError(
                    f"front_ends: seen reaches into the encoder, which only the engine transformers lets it; the engine is {self.engine}"
                )
        return self


def model_folder(method: str) -> Path:
    """Where a method's model lies."""
    return Path("models") / ("backbone" if method == BASE else method)
