"""A model folder without its weights: how a request reads as tokens, how long it gets, and what fits.

Every engine asks it, also one whose model is in another process or on another machine.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tasks.common.errors import UserError
from tasks.common.seeds import content_id, seed_of
from tasks.engines.base import Completion, ContextOverflowError, Request, refusal, refuse

# `model_type` of config.json to the module that holds what is particular to the family. Text LLMs are told by their class: see `_family`.
FAMILIES = {
    "qwen2_audio": "qwen2_audio",
    "qwen2_5_omni": "qwen2_5_omni",
    "qwen2_5_omni_thinker": "qwen2_5_omni",
    "audioflamingo3": "audio_flamingo3",
    "granite_speech": "granite_speech",
    "voxtral": "voxtral",
}
TEXT = "text"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
TOKENIZER_FILES = ("tokenizer_config.json", "tekken.json")


class Prompts:
    """The family, processor and limits of a `from_pretrained` folder.

    Attributes:
        family: the module that knows the model's chat text, placeholder and processor call.
        processor: tokenizer (padding on the left) and feature extractor.
        window_s: longest audio in seconds; 0 where the model reads text only.
        context: longest prompt and response in tokens.
        end_ids: tokens that end a response.
        audio_id: the audio placeholder, which no response may hold; None where the model reads text only.
        vocabulary: rows of the output head.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError where the folder holds no configuration, an unknown family, no processor or no tokenizer, or broken ones."""
        try:
            self._read(folder)
        except (UserError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # of every kind: transformers raises what its parsers do, and tokenizers panics in Rust
            what = f"its configuration, tokenizer or processor cannot be read ({type(error).__name__}: {str(error)[:200]})"
            raise UserError(str(folder), what, "Copy the files from the model's checkpoint again") from error

    def _read(self, folder: Path) -> None:
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(str(folder), "no model here (config.json is missing)", "Run the stage that makes it, e.g. python -m tasks.backbone")
        name = _family(path)
        if name != TEXT and not any((folder / file).is_file() for file in PROCESSOR_FILES):
            raise UserError(str(folder), f"no processor here ({' or '.join(PROCESSOR_FILES)} is missing)", "Copy it from the model's checkpoint")
        if not any((folder / file).is_file() for file in TOKENIZER_FILES):
            raise UserError(str(folder), f"no tokenizer here ({' or '.join(TOKENIZER_FILES)} is missing)", "Copy it from the model's checkpoint")
        self.family: Any = importlib.import_module(f"tasks.engines.{name}")
        self.processor = self.family.load_processor(folder)
        self.window_s: float = self.family.window_s(self.processor)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        text = getattr(config, "thinker_config", config).get_text_config()
        if getattr(text, "max_position_embeddings", None) is None:
            raise UserError(str(path), "no max_position_embeddings: how long a prompt may get is unknown", "Use a model with a limited context")
        self.context = int(text.max_position_embeddings)
        self.vocabulary = int(text.vocab_size)
        self.audio_id: int | None = self.family.audio_id(self.processor)
        self.end_ids = _end_ids(folder, text.eos_token_id) or [self.processor.tokenizer.eos_token_id]

    def text(self, request: Request) -> str:
        """The prompt as the model reads it, its audio one placeholder."""
        text: str = self.family.chat_text(self.processor, request.prompt, request.audio is not None)
        return text

    def ids(self, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens of each prompt, its audio one placeholder. The chat template writes all special tokens, so none is added."""
        texts = [self.text(request) for request in requests]
        rows: list[list[int]] = self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return rows

    def lengths(self, requests: Sequence[Request]) -> list[int]:
        """Prompt tokens of each request, its audio included."""
        lengths = []
        for row, request in zip(self.ids(requests), requests, strict=True):
            heard = 0 if request.audio is None else self.family.audio_tokens(self.processor, len(request.audio)) - 1
            lengths.append(len(row) + heard)
        return lengths

    def refusals(self, requests: Sequence[Request], max_new_tokens: int) -> list[str | None]:
        """See Generator."""
        reasons = [refusal(request.audio, self.window_s) for request in requests]
        fitting = [i for i, reason in enumerate(reasons) if reason is None]
        for i, length in zip(fitting, self.lengths([requests[i] for i in fitting]), strict=True):
            if length + max_new_tokens > self.context:
                reasons[i] = "context_overflow"
        return reasons

    def check(self, requests: Sequence[Request], new_tokens: Sequence[int]) -> list[int]:
        """Prompt tokens of each request; raises AudioRefusedError or ContextOverflowError for the first that does not fit with its response."""
        refuse(requests, self.window_s)
        lengths = self.lengths(requests)
        for request, length, new in zip(requests, lengths, new_tokens, strict=True):
            if length + new > self.context:
                raise ContextOverflowError(
                    f"request '{request.prompt[:60]}'",
                    f"{length} prompt tokens and {new} for the response, context_overflow: the model reads {self.context}",
                    "Shorten the prompt or the response, or leave the clip out",
                )
        return lengths

    def completion(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> Completion:
        """Tokens up to the first that ends a response, which they keep."""
        ids = list(token_ids)
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), None)
        spoken = ids if end is None else ids[:end]
        kept = ids if end is None else ids[: end + 1]
        return Completion(
            text=self.processor.tokenizer.decode(spoken).strip(),
            token_ids=kept,
            token_logprobs=[round(float(value), 4) for value in logprobs[: len(kept)]],
            finish_reason="length" if end is None else "stop",
        )


def audio_key(request: Request) -> str | None:
    """Content id of a request's samples."""
    return None if request.audio is None else content_id(np.ascontiguousarray(request.audio).tobytes())


def audio_keys(requests: Sequence[Request]) -> list[str | None]:
    """`audio_key` of each request, worked out once for requests that share an array, as the questions about a clip do."""
    first = {id(request.audio): request for request in requests}
    known = {number: audio_key(request) for number, request in first.items()}
    return [known[id(request.audio)] for request in requests]


def sample_seed(prompt: str, key: str | None, seed: int) -> int:
    """Where the samples of a request start: vLLM draws number i from this plus i, so the sum stays below 2**63."""
    return seed_of("sample", seed, prompt, key) >> 1


def expanded(tokenizer: Any, texts: Sequence[str], placeholder: int | None, counts: Sequence[int] | None, multiple: int) -> dict[str, Any]:
    """`input_ids` and `attention_mask` of chat texts, the placeholder of each `counts` times, padded to a multiple of `multiple`."""
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    if counts is not None:
        rows = [[token for t in row for token in [t] * (count if t == placeholder else 1)] for row, count in zip(rows, counts, strict=True)]
    padded = tokenizer.pad({"input_ids": rows}, padding=True, pad_to_multiple_of=multiple, return_tensors="pt")
    return {name: padded[name] for name in ("input_ids", "attention_mask")}


def _family(path: Path) -> str:
    """Module of a configuration's family; raises UserError where it has none.

    A text LLM is what transformers maps to a causal language model and was saved as one: classifiers and reward models share its `model_type`.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    model_type = config.get("model_type")
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type) in (config.get("architectures") or ()):
        return TEXT
    saved = f" ({', '.join(config['architectures'])})" if config.get("architectures") else ""
    raise UserError(str(path), f"unknown model family '{model_type}'{saved}", f"Known: {', '.join(FAMILIES)}, and causal language models of text")


def _end_ids(folder: Path, otherwise: int | list[int] | None) -> list[int]:
    """As `model.generate` finds them: the generation configuration's, else the model's."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    ends = settings.get("eos_token_id", otherwise)
    return [ends] if isinstance(ends, int) else list(ends or [])
