"""Parameters of the rooms stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.common.params import Section

Positive = Annotated[float, Field(gt=0)]
Range = tuple[Positive, Positive]
Number = Annotated[int, Field(ge=0)]
Pattern = Literal["omni", "cardioid", "hypercardioid", "figure_of_eight"]


class BySplit(Section):
    """A number for each split."""

    train: Number
    validation: Number
    test: Number


class Microphones(Section):
    """A line of microphones, all of one pattern and aimed the same way, broadside."""

    count: int = Field(ge=1, le=16)
    pattern: Pattern
    spacing_m: float = Field(gt=0)


class RoomsParams(Section):
    """Section `rooms` of params.yaml; ranges are (lowest, highest) of a uniform draw."""

    simulated: BySplit
    simulator: Literal["image_sources", "pyroomacoustics"]
    sources: int = Field(ge=1, le=8)
    microphones: Microphones
    rt60_s: Range
    rt60_by_octave: tuple[Positive, Positive, Positive, Positive, Positive, Positive, Positive] | None
    length_m: Range
    width_m: Range
    height_m: Range
    distance_m: Range
    wall_m: float = Field(gt=0)
    corrections: int = Field(ge=0, le=10)
    high_pass_hz: float = Field(gt=0, lt=8000)

    @model_validator(mode="after")
    def _possible(self) -> "RoomsParams":
        for name in ("rt60_s", "length_m", "width_m", "height_m", "distance_m"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from {low} down to {high}; the lower end comes first")
        free = [side[0] - 2 * self.wall_m for side in (self.length_m, self.width_m, self.height_m)]
        if min(free) <= 0 or self.distance_m[0] > max(free) / 2:
            raise ValueError("the smallest room has no place for a source and a microphone that far apart and from the walls")
        if (self.microphones.count - 1) * self.microphones.spacing_m > max(free) / 2:
            raise ValueError("the smallest room has no place for that many microphones with that spacing")
        return self
