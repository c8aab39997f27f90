"""The interface every engine has: requests in, completions, log-probabilities and distributions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.common.seeds import folder_revision

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

# Below this the encoders' pooling leaves no audio token at all.
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Request:
    """One question. `audio` is (frames,) float32 at 16 kHz, or None for a text-only question."""

    prompt: str
    audio: Wave | None = None


@dataclass(frozen=True)
class Completion:
    """One response.

    `token_ids` ends with the end-of-turn token when `finish_reason` is `stop`; `text` never shows it.
    `token_logprobs` are log-probabilities of those tokens under the model itself, at temperature 1, to 4 decimals.
    """

    text: str
    token_ids: list[int]
    token_logprobs: list[float]
    finish_reason: Literal["stop", "length"]


class AudioRefusedError(UserError):
    """A request's audio does not fit the model. It is refused before anything is generated, and never cut."""


class Generator(Protocol):
    """An engine with a model loaded. Which requests share a call or a batch changes no token."""

    window_s: float
    """Longest audio the model hears, in seconds."""

    def generate(
        self, requests: Sequence[Request], *, n: int = 1, temperature: float = 0.0, max_new_tokens: int, seed: int = 0
    ) -> list[list[Completion]]:
        """`n` completions a request; temperature 0 is greedy.

        A sample is drawn from the seed, the request's content and its number among the `n`, so it stays the same in any company.
        Raises AudioRefusedError.
        """
        ...

    def score(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> "list[NDArray[np.float32]]":
        """Log-probabilities (T,) of the given response tokens, teacher-forced, at temperature 1. Raises AudioRefusedError."""
        ...

    def distributions(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """Log-probabilities (T, vocabulary), float32 on the CPU, of every token at each place of the given responses. Raises AudioRefusedError."""
        ...


def refusal(audio: Wave | None, window_s: float) -> str | None:
    """Why a model with this window cannot take the audio (`longer_than_window`, `too_short`), or None where it can."""
    if audio is None:
        return None
    if len(audio) > round(window_s * RATE):
        return "longer_than_window"
    return "too_short" if len(audio) < SHORTEST_S * RATE else None


def refuse(requests: Sequence[Request], window_s: float) -> None:
    """Raise AudioRefusedError for the first request whose audio does not fit."""
    for request in requests:
        reason = refusal(request.audio, window_s)
        if reason is not None and request.audio is not None:
            seconds = len(request.audio) / RATE
            raise AudioRefusedError(
                f"request '{request.prompt}'", f"audio of {seconds:.2f} s, {reason}: the window is {window_s:g} s", "Leave the clip out"
            )


def load_generator(engine: str, model_folder: Path) -> Generator:
    """The engine of that name with the model of a `from_pretrained` folder; raises UserError for an unknown engine or family."""
    if engine == "transformers":
        from tasks.engines.transformers_engine import TransformersGenerator

        return TransformersGenerator(model_folder)
    raise UserError("engine", f"unknown engine '{engine}'", "Choose: transformers")


@lru_cache(maxsize=1)
def shared_generator(engine: str, model_folder: Path, revision: str) -> Generator:
    """`load_generator`, kept in this process while consecutive shards ask for the same model at the same revision."""
    return load_generator(engine, model_folder)


def model_revision(model_folder: Path) -> str:
    """Content id of what a model's answers depend on: weights, configuration, tokenizer, chat template; never its training log.

    Raises UserError where the folder holds no model.
    """
    if not (model_folder / "config.json").is_file():
        raise UserError(str(model_folder), "no model here (config.json is missing)", "Run the stage that makes it, e.g. python -m tasks.backbone")
    return folder_revision(model_folder, ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt", "*.model"))
