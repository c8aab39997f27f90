"""Section `evaluate` of the parameters, and the two lists of tasks that the figures are made of."""

from pathlib import Path

from pydantic import Field, field_validator

from tasks.common.params import Section

BASE = "base"
CORE = ("first", "last", "count", "present", "question")  # the first part of a task: `question/sound` is a corpus' own question


class EvaluateParams(Section):
    """Which models are asked how many questions.

    Attributes:
        methods: models compared; the first is `base` (models/backbone), any other is models/<method>.
        items_per_mixture: core questions asked of one noisy mixture.
        control_items: core questions asked again with silence and with another clip's audio.
        max_new_tokens: longest answer.
        bootstrap: resamples of the clips behind every interval.
        shard_size: questions in one shard of work.
    """

    methods: tuple[str, ...]
    items_per_mixture: int = Field(ge=1)
    control_items: int = Field(ge=1)
    max_new_tokens: int = Field(ge=1)
    bootstrap: int = Field(ge=100)
    shard_size: int = Field(ge=1)

    @field_validator("methods")
    @classmethod
    def _base_first(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if methods[:1] != (BASE,):
            raise ValueError(f"'{BASE}' must come first: agreement and gains are measured against it")
        if len(set(methods)) != len(methods):
            raise ValueError("a method is listed twice")
        return methods


def model_folder(method: str) -> Path:
    """Where a method's model lies."""
    return Path("models") / ("backbone" if method == BASE else method)
