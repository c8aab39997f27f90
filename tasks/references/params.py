"""Parameters of the references stage."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.common.params import Section
from tasks.engines.options import EngineOptions


class ReferencesParams(Section):
    """Section `references` of params.yaml.

    Attributes:
        teacher: folder of the frozen model that hears clean audio.
        engine: what runs it (tasks.engines).
        engine_options: where it runs and how (tasks.engines.options); nothing here changes a response.
        max_new_tokens: longest response.
        samples: responses drawn beside the greedy one; 0 for none.
        temperature: of the samples.
        seed: of the samples.
        shards: files of data/references; a clip's items share one.
    """

    teacher: Path
    engine: Literal["transformers", "vllm", "openai"]
    engine_options: EngineOptions
    max_new_tokens: int = Field(ge=1)
    samples: int = Field(ge=0)
    temperature: float = Field(gt=0)
    seed: int
    shards: int = Field(ge=1)
