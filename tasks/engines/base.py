"""The interface every engine has: requests in, completions, log-probabilities and distributions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.common.params import validate
from tasks.common.seeds import content_id, folder_hashes
from tasks.common.sha256sums import check_sums
from tasks.engines.options import EngineOptions

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

# Below this the encoders' pooling leaves no audio token at all.
SHORTEST_S = 0.1
ENGINES = ("transformers", "vllm", "openai")
SEEN = "seen.safetensors"  # in a model's folder: it hears with SEEN (tasks.see.seen)


@dataclass(frozen=True)
class Request:
    """One question. `audio` is (frames,) float32 at 16 kHz, or None for a text-only question."""

    prompt: str
    audio: Wave | None = None


Schema = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def schema_each(schema: Schema, count: int) -> list[Mapping[str, Any] | None]:
    """The JSON schema of each of `count` requests."""
    return [schema] * count if schema is None or isinstance(schema, Mapping) else list(schema)


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


@dataclass(frozen=True)
class TopK:
    """The k likeliest tokens at each of T places, and what is left over.

    Attributes:
        ids: (T, k) int64, likeliest first.
        logprobs: (T, k) float32, at temperature 1.
        tail: (T,) float32, log(1 - sum p) of all other tokens; -inf where k is the vocabulary.
    """

    ids: "NDArray[np.int64]"
    logprobs: "NDArray[np.float32]"
    tail: "NDArray[np.float32]"


class AudioRefusedError(UserError):
    """A request's audio does not fit the model. It is refused before anything is generated, and never cut."""


class ContextOverflowError(UserError):
    """Prompt, audio and response together are longer than the model's context. Refused before anything is generated."""


class EngineError(UserError):
    """Some requests of a call failed for good. The others are done, and their results come with the error.

    Attributes:
        finished: request number to its result (completions, scores, ...), for every request that has one.
        failed: request number to the reason it has none.
    """

    def __init__(self, where: str, finished: Mapping[int, Any], failed: Mapping[int, str]) -> None:
        self.finished, self.failed = dict(finished), dict(failed)
        reason = next(iter(self.failed.values()))
        total = len(self.finished) + len(self.failed)
        super().__init__(where, f"{reason}; {len(self.failed)} of {total} requests failed", "See the server's log, and run again")

    def __reduce__(self) -> tuple[Any, ...]:
        return (EngineError, (self.where, self.finished, self.failed))


class Generator(Protocol):
    """An engine with a model loaded.

    Every method raises AudioRefusedError or ContextOverflowError before anything is computed where a request does not fit, and
    EngineError, which carries the finished results, where an engine outside this process fails.
    """

    window_s: float
    """Longest audio the model hears, in seconds; 0 where it reads text only."""
    context: int
    """Longest prompt with its audio and response, in tokens."""

    def refusals(self, requests: Sequence[Request], max_new_tokens: int) -> list[str | None]:
        """For each request why it cannot be asked (`text_only`, `longer_than_window`, `too_short`, `context_overflow`), or None where it can."""
        ...

    def generate(
        self,
        requests: Sequence[Request],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int,
        seed: int = 0,
        schema: Schema = None,
    ) -> list[list[Completion]]:
        """`n` completions a request; temperature 0 is greedy.

        A sample is drawn from the seed, the request's content and its number among the `n`, so it stays the same in any company.
        `schema` is a JSON schema the text obeys, one for all or one a request: enforced by vLLM and servers, ignored by transformers, so a
        caller validates anyway. Where it is enforced, `token_logprobs` are those among the tokens the schema allows.
        """
        ...

    def score(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> "list[NDArray[np.float32]]":
        """Log-probabilities (T,) of the given response tokens, teacher-forced, at temperature 1."""
        ...

    def distributions(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """Log-probabilities (T, vocabulary), float32 on the CPU, of every token at each place of the given responses."""
        ...

    def top_logprobs(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], k: int) -> list[TopK]:
        """The `k` likeliest tokens (all, where the vocabulary has fewer) at each place of the given responses."""
        ...


def refusal(audio: Wave | None, window_s: float) -> str | None:
    """Why a model with this window cannot take the audio (`text_only`, `longer_than_window`, `too_short`), or None where it can."""
    if audio is None:
        return None
    if window_s == 0.0:
        return "text_only"
    if len(audio) > round(window_s * RATE):
        return "longer_than_window"
    return "too_short" if len(audio) < SHORTEST_S * RATE else None


def refuse(requests: Sequence[Request], window_s: float) -> None:
    """Raise AudioRefusedError for the first request whose audio does not fit."""
    for request in requests:
        reason = refusal(request.audio, window_s)
        if reason is not None and request.audio is not None:
            where, seconds = f"request '{request.prompt[:60]}'", len(request.audio) / RATE
            if reason == "text_only":
                raise AudioRefusedError(where, "it has audio, text_only: this model reads text and hears nothing", "Use an audio LLM")
            raise AudioRefusedError(where, f"audio of {seconds:.2f} s, {reason}: the window is {window_s:g} s", "Leave the clip out")


def load_generator(engine: str, model_folder: Path, **options: Any) -> Generator:
    """The engine of that name with the model of a `from_pretrained` folder; `options` are keys of EngineOptions.

    For `openai` the folder needs no weights, only what is in it beside them. Raises UserError for an unknown engine, option or
    model family, a folder without a processor, a server that does not answer, and an environment without vLLM.
    """
    chosen = validate(EngineOptions, options, "engine options")
    if engine == "transformers":
        from tasks.engines.transformers_engine import TransformersGenerator

        return TransformersGenerator(model_folder)
    if engine in ENGINES and (model_folder / SEEN).is_file():
        raise UserError(str(model_folder / SEEN), f"the engine {engine} cannot run SEEN", "Use engine: transformers")
    if engine == "vllm":
        from tasks.engines.vllm_engine import VllmGenerator

        return VllmGenerator(model_folder, chosen)
    if engine == "openai":
        from tasks.engines.openai_engine import OpenAIGenerator

        return OpenAIGenerator(model_folder, chosen)
    raise UserError("engine", f"unknown engine '{engine}'", f"Choose: {', '.join(ENGINES)}")


def shared_generator(engine: str, model_folder: Path, revision: str, **options: Any) -> Generator:
    """`load_generator`, kept in this process while consecutive shards ask for the same model at the same revision."""
    key = (engine, str(model_folder), revision, tuple(sorted(options.items())))
    if key not in _shared:
        _shared.clear()  # first: a GPU rarely has room for both
        _shared[key] = load_generator(engine, model_folder, **options)
    return _shared[key]


_shared: dict[Any, Generator] = {}


def model_revision(model_folder: Path) -> str:
    """Content id of what a model's answers depend on: weights, configuration, tokenizer, chat template; never its training log.

    Raises UserError where the folder holds no model, and where a file of it is not what its stage wrote.
    """
    if not (model_folder / "config.json").is_file():
        raise UserError(str(model_folder), "no model here (config.json is missing)", "Run the stage that makes it, e.g. python -m tasks.backbone")
    found = folder_hashes(model_folder, ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt", "*.model"))
    check_sums(model_folder, found)
    return content_id([[*pair] for pair in found.items()])
