"""Parameters of the mix stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.common.params import Section

Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[int, Field(ge=0)]


class PerNoise(Section):
    """Mixtures a noise clip, by split."""

    train: Number
    validation: Number
    test: Number


class MixParams(Section):
    """Section `mix` of params.yaml; `corruptions` names the file that says how mixtures are corrupted beyond noise and rooms."""

    snr_db: tuple[Annotated[float, Field(ge=-40, le=60)], ...] = Field(min_length=1)
    per_noise: PerNoise
    noise_reverb_share: Share
    speech_reverb_share: Share
    corruptions: str
    level_dbfs: tuple[float, float]
    peak: float = Field(gt=0, le=1)
    shard_mixtures: int = Field(ge=1)
    device: Literal["cpu", "cuda"]

    @model_validator(mode="after")
    def _levels(self) -> "MixParams":
        low, high = self.level_dbfs
        if not -60 <= low <= high <= -3:
            raise ValueError(f"level_dbfs is ({low}, {high}); it runs from a lower to a higher level between -60 and -3")
        if len(set(self.snr_db)) != len(self.snr_db):
            raise ValueError("snr_db names a level twice")
        return self
