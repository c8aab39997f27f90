"""The section `synthesis` of params.yaml: which embedded corpora to make, of what."""

from typing import Literal

from pydantic import Field

from tasks.common.params import Section


class Voices(Section):
    """Names espeak-ng knows, `<voice file>+<variant>`; each one is a speaker."""

    male: list[str]
    female: list[str]


class WordsParams(Section):
    """Every word is spoken by every voice at every speed and pitch."""

    words: list[str] = Field(min_length=1)
    voices: Voices
    speeds_wpm: list[int] = Field(min_length=1)
    pitches: list[int] = Field(min_length=1)


class BabbleParams(Section):
    """Talkers of a babble clip are drawn from voices that speak no words, and say sentences without any of the words."""

    voices: list[str] = Field(min_length=1)
    talkers: int = Field(ge=2)


class NoiseParams(Section):
    """`clips` clips of `clip_s` seconds of every type, at `level_dbfs` RMS."""

    types: list[Literal["white", "pink", "babble", "hum", "impulsive", "engine"]]
    clips: int = Field(ge=1)
    clip_s: float = Field(gt=0)
    level_dbfs: float = Field(lt=-6)
    babble: BabbleParams


class SynthesisParams(Section):
    """`corpora` names what to make; a profile on recordings makes none."""

    corpora: list[Literal["words", "noise"]]
    words: WordsParams
    noise: NoiseParams
