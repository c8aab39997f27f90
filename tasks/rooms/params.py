"""Parameters of the rooms stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.common.params import Section

Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Number = Annotated[int, Field(ge=0)]


class BySplit(Section):
    """A number for each split."""

    train: Number
    validation: Number
    test: Number


class RoomsParams(Section):
    """Section `rooms` of params.yaml; ranges are (lowest, highest) of a uniform draw."""

    simulated: BySplit
    simulator: Literal["pyroomacoustics", "image_sources"]
    rt60_s: Range
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
        return self
