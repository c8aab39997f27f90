"""Parameters of the items stage and the wording of its questions."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from tasks.common.params import Section, read_yaml, validate

Wording = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class ItemsParams(Section):
    """Section `items` of params.yaml."""

    questions: Path
    options: int = Field(ge=2, le=10)


class Questions(Section):
    """A file of catalogs/questions: how each task is asked."""

    first: Wording
    last: Wording
    count: Wording
    present: Wording
    background: Wording

    @field_validator("present")
    @classmethod
    def _names_the_word(cls, value: str) -> str:
        if value.count("{word}") != 1:
            raise ValueError("it must hold {word} once, where the word asked about goes")
        return value


def read_questions(path: Path) -> Questions:
    """The wording in force; raises UserError naming file, key and rule."""
    return validate(Questions, read_yaml(path), str(path))
