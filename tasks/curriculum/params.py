"""Section `curriculum` of params.yaml, and the form of a file of catalogs/curricula."""

from itertools import combinations
from math import inf
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from tasks.common.params import Section, read_yaml, validate


class CurriculumParams(Section):
    """Section `curriculum` of params.yaml.

    Attributes:
        plan: the file of catalogs/curricula in force.
    """

    plan: Path


class Stage(Section):
    """One stage of training. `snr_db` is [at least, below], null for no limit."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    snr_db: tuple[float | None, float | None]

    @property
    def limits(self) -> tuple[float, float]:
        """(lowest SNR in dB, the SNR it stays below), infinite where there is no limit."""
        low, high = self.snr_db
        return -inf if low is None else low, inf if high is None else high

    @field_validator("snr_db")
    @classmethod
    def _holds_some_snr(cls, snr_db: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = snr_db
        if low is not None and high is not None and low >= high:
            raise ValueError("the first number must be below the second")
        return snr_db


class Selection(Section):
    """What is left out of the training stages. Held-out splits are never selected."""

    teacher_gate: bool


class Plan(Section):
    """A curriculum: its stages in training order and its selection."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    selection: Selection

    @field_validator("stages")
    @classmethod
    def _are_apart(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        for one, other in combinations(stages, 2):
            if one.name == other.name:
                raise ValueError(f"two stages are named '{one.name}'")
            if max(one.limits[0], other.limits[0]) < min(one.limits[1], other.limits[1]):
                raise ValueError(f"stages '{one.name}' and '{other.name}' share an SNR")
        return stages


def read_plan(path: Path) -> Plan:
    """The curriculum in force; raises UserError naming file, key and rule."""
    return validate(Plan, read_yaml(path), str(path))
