"""The keys of a catalog entry that say how a corpus lies on disk, what is asked of it, and what its publisher says of it."""

import functools
import re

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import Field, field_validator

from tasks.common.params import Section


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression; raises ValueError where it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


@functools.cache
def spdx(licence: str) -> str:
    """An SPDX licence expression (spdx.org/licenses; LicenseRef-... for others) as it is spelt there; raises ValueError."""
    try:
        return str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression:
        raise ValueError(f"'{licence}' is no SPDX licence; write LicenseRef-<name> for one that has no SPDX name") from None


class Join(Section):
    """A second table: its row where `key` holds what `column` of the first holds. A JSON object of objects has its keys in column `key`."""

    path: str
    column: str
    key: str = "key"


class Table(Section):
    """One table or several (`path` may hold * and ?), below the root: CSV, TSV, JSON, JSON lines or Parquet, a row a recording.

    `file` is the column of the path below the root, or a template of columns, `clips/{path}`; `{table}` and `{folder}` are the
    stem and the folder of the table itself. `columns` renames columns to fields; `audio.path` reaches into a column, and a template makes one.
    A row with a value in column `start` is the stretch from there on, `duration` seconds long or to `end`; any other is the whole file.
    """

    path: str
    file: str = "file"
    columns: dict[str, str] = Field(default_factory=dict)
    start: str | None = None
    end: str | None = None
    duration: str | None = None
    join: Join | None = None


class Transcript(Section):
    """Text that lies beside the audio: a template over the pattern's groups, `{folder}` and `{stem}`, for a file of the text alone,
    or, with `key`, for a file of lines that open with that key."""

    path: str
    key: str | None = None


class Questions(Section):
    """What is asked of a recording. Each value is a column or a template of columns.

    `question` may be several, by a name that is added to the task. `options` is a column that holds them all, or one column an option;
    `options_pattern` cuts them out of a longer text. Without options, distractors are other answers of the same task. Without a task, the
    clip's field `task` is meant.
    """

    question: str | dict[str, str]
    answer: str
    options: str | list[str] | None = None
    options_pattern: str | None = None
    task: str | None = None

    @field_validator("options_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None and compiled(value).groups != 1:
            raise ValueError("it must have one group, which holds the options")
        return value


class Expected(Section):
    """What the publisher says the corpus holds, to compare with what is found: sound files or shards, hours, clips."""

    files: int | None = Field(default=None, gt=0)
    hours: float | None = Field(default=None, gt=0)
    clips: int | None = Field(default=None, gt=0)
