"""Parameters of the references stage."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.common.params import Section


class ReferencesParams(Section):
    """Section `references` of params.yaml.

    Attributes:
        teacher: folder of the frozen model that hears clean audio.
        engine: what runs it (tasks.engines).
        max_new_tokens: longest response.
        shards: files of data/references; a clip's items share one.
    """

    teacher: Path
    engine: Literal["transformers"]
    max_new_tokens: int = Field(ge=1)
    shards: int = Field(ge=1)
