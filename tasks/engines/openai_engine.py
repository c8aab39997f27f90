"""Generation and scoring by an OpenAI-compatible server, such as `vllm serve`.

Generation is /chat/completions with the audio as 32-bit float WAV, so the server hears the very samples. A server of vLLM (it says so in
its list of models) also returns token ids, which are checked against the folder's own prompt, and scores through its token endpoint,
/inference/v1/generate (`--enable-scale-out`). Other servers return text: token ids are then the folder's tokenizer's, and they cannot score.
"""

import base64
import io
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from scipy.io import wavfile

from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.engines.base import Completion, EngineError, Request, Schema, schema_each
from tasks.engines.calls import Call, RefusedError, ask_all, message_of
from tasks.engines.options import EngineOptions
from tasks.engines.prompts import Prompts, audio_key, sample_seed
from tasks.engines.topk import Scorer, Scores

HEALTH_S = 10.0
START = "Start one, e.g. `python -m vllm.entrypoints.openai.api_server --model {folder} --enable-scale-out`, or set the engine option url"


class OpenAIGenerator(Scorer):
    """A `Generator` (see base.py); the folder tells it the model's prompt, tokenizer and limits, the server has the weights."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        """Raises UserError where no server answers, where it wants another key, or has no model of that name."""
        self.prompts = Prompts(folder)
        self.options = options
        self.url = options.url.rstrip("/")
        key = _key(options.api_key_env)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        card = self._card(START.format(folder=folder))
        self.model: str = card["id"]
        self.vllm = card.get("owned_by") == "vllm"
        self.prompts.context = min(filter(None, (self.prompts.context, card.get("max_model_len"), options.max_model_len)))
        self.window_s, self.context = self.prompts.window_s, self.prompts.context

    def refusals(self, requests: Sequence[Request], max_new_tokens: int) -> list[str | None]:
        return self.prompts.refusals(requests, max_new_tokens)

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
        self.prompts.check(requests, [max_new_tokens] * len(requests))
        draws = n if temperature > 0.0 else 1
        common: dict[str, Any] = {"model": self.model, "max_tokens": max_new_tokens, "temperature": temperature, "top_p": 1.0, "logprobs": True}
        if self.vllm:
            # A server takes what a request leaves out from the model's generation_config.json. The placeholder in a response
            # would ask for audio that does not exist.
            common |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": self.prompts.end_ids, "return_token_ids": True}
            if self.prompts.audio_id is not None:
                common["bad_words"] = [self.prompts.processor.tokenizer.convert_ids_to_tokens(self.prompts.audio_id)]
            if self.prompts.family.TEMPLATE_VARIABLES:
                common["chat_template_kwargs"] = self.prompts.family.TEMPLATE_VARIABLES

        def body(request: Request, form: Mapping[str, Any] | None) -> dict[str, Any]:
            drawn: dict[str, Any] = {"n": draws, "seed": sample_seed(request.prompt, audio_key(request), seed)} if temperature > 0.0 else {}
            if form is not None:
                drawn["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": form, "strict": True}}
            return {**common, **drawn, "messages": [{"role": "user", "content": _content(request)}]}

        read = self._read_ids if self.vllm else self._read_text
        asked = zip(requests, schema_each(schema, len(requests)), strict=True)
        calls = [Call(f"{self.url}/chat/completions", partial(body, request, form), partial(read, request, draws)) for request, form in asked]
        found: list[list[Completion]] = self._ask(requests, calls)
        return [row * (n // draws) for row in found]

    def scores(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], k: int) -> list[Scores]:
        if not self.vllm:
            raise UserError(f"engine openai at {self.url}", "this server cannot score given tokens: only vLLM's can", START.format(folder="DIR"))
        self.prompts.check(requests, [len(ids) + 1 for ids in token_ids])

        def body(request: Request, ids: Sequence[int]) -> dict[str, Any]:
            prompt = self.prompts.ids([request])[0]
            settings = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": k, "detokenize": False}
            audio = None if request.audio is None else [{"type": "audio_url", "url": f"data:audio/wav;base64,{wav_base64(request.audio)}"}]
            return {"model": self.model, "token_ids": [*prompt, *ids], "content_parts": audio, "sampling_params": settings}

        url = f"{self.url.removesuffix('/v1')}/inference/v1/generate"
        pairs = zip(requests, token_ids, strict=True)
        found: list[Scores] = self._ask(requests, [Call(url, partial(body, *pair), partial(_read_scores, pair[1], k)) for pair in pairs])
        return found

    def _card(self, todo: str) -> dict[str, Any]:
        """The server's entry of the model."""
        where = f"engine openai at {self.url}"
        try:
            response = httpx.get(f"{self.url}/models", headers=self.headers, timeout=HEALTH_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(where, f"no server answers ({error or type(error).__name__})", todo) from None
        if response.status_code in (401, 403):
            raise UserError(where, f"the server refuses the key: {message_of(response)}", f"Put the key into {self.options.api_key_env}")
        try:
            cards = {card["id"]: card for card in response.raise_for_status().json()["data"]}
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
            raise UserError(where, f"not an OpenAI-compatible server: HTTP {response.status_code} for /models", todo) from None
        name = self.options.served_model or (next(iter(cards)) if len(cards) == 1 else None)
        if name not in cards:
            what = "no such model there" if name else "several models there"
            raise UserError(f"engine options: served_model: {name}", what, f"Choose: {', '.join(cards)}")
        return dict(cards[name])

    def _ask(self, requests: Sequence[Request], calls: Sequence[Call]) -> list[Any]:
        finished, failed = ask_all(calls, self.options, self.headers)
        if failed:
            first = requests[min(failed)].prompt[:60]
            raise EngineError(f"engine openai at {self.url}: request '{first}'", finished, dict(sorted(failed.items())))
        return [finished[number] for number in range(len(calls))]

    def _read_ids(self, request: Request, draws: int, response: Any) -> list[Completion]:
        """Completions out of a response with token ids. Raises ValueError where it is incomplete, RefusedError where the prompt is another."""
        prompt = [token for token, run in groupby(response["prompt_token_ids"]) for _ in ([0] if token == self.prompts.audio_id else run)]
        if prompt != self.prompts.ids([request])[0]:
            raise RefusedError("the server reads another prompt than the folder's chat template gives: not the same model, or not its template")
        found = []
        for choice in _choices(response, draws):
            ids = [int(token) for token in choice["token_ids"]]
            logprobs = _logprobs(choice)
            if len(logprobs) != len(ids):
                raise ValueError(f"{len(logprobs)} log-probabilities for {len(ids)} tokens")
            found.append(self.prompts.completion(ids, logprobs))
        return found

    def _read_text(self, request: Request, draws: int, response: Any) -> list[Completion]:
        """Completions out of text. Log-probabilities must be as many as the tokenizer's tokens, with or without one for the end token."""
        found = []
        for choice in _choices(response, draws):
            text, reason = str(choice["message"]["content"]), choice["finish_reason"]
            ids: list[int] = self.prompts.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            logprobs = [round(value, 4) for value in _logprobs(choice)]
            if reason == "stop" and len(logprobs) == len(ids) + 1:
                ids = [*ids, self.prompts.end_ids[0]]
            if len(logprobs) != len(ids):
                raise ValueError(f"{len(logprobs)} log-probabilities for {len(ids)} tokens of the folder's tokenizer")
            found.append(Completion(text.strip(), ids, logprobs, reason))
        return found


def _key(variable: str) -> str | None:
    """The key of the environment; raises UserError, which does not show it, where no header can hold it: httpx's own error would."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"environment variable {variable}", "holds what no key does: a blank, a line end or a letter beyond ASCII", "Set it anew")
    return key or None


def wav_base64(wave: Wave) -> str:
    """(frames,) at 16 kHz as a 32-bit float WAV file, which keeps every bit; libsndfile would write the time of day into it."""
    buffer = io.BytesIO()
    wavfile.write(buffer, RATE, np.ascontiguousarray(wave, dtype=np.float32))
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _content(request: Request) -> list[dict[str, Any]]:
    text = {"type": "text", "text": request.prompt}
    if request.audio is None:
        return [text]
    return [{"type": "input_audio", "input_audio": {"data": wav_base64(request.audio), "format": "wav"}}, text]


def _choices(response: Any, draws: int) -> list[Any]:
    """The choices in order of their numbers; raises ValueError where one is missing, doubled, or neither ended nor at its limit."""
    choices = sorted(response["choices"], key=lambda choice: int(choice["index"]))
    if [choice["index"] for choice in choices] != list(range(draws)):
        raise ValueError(f"{len(choices)} choices instead of {draws}")
    for choice in choices:
        if choice["finish_reason"] not in ("stop", "length"):
            raise ValueError(f"finish_reason '{choice['finish_reason']}'")
    return choices


def _logprobs(choice: Any) -> list[float]:
    return [_logprob(entry["logprob"]) for entry in choice["logprobs"]["content"]]


def _logprob(value: Any) -> float:
    if not math.isfinite(value) or value > 1e-3:
        raise ValueError(f"{value} is no log-probability")
    return float(value)


def _read_scores(ids: Sequence[int], k: int, response: Any) -> Scores:
    """The tables of the last tokens of a prompt; raises ValueError where one is incomplete."""
    places = response["prompt_logprobs"]
    tokens, logprobs = np.zeros((len(ids), 1 + k), np.int64), np.zeros((len(ids), 1 + k), np.float32)
    for row, (token, place) in enumerate(zip(ids, places[len(places) - len(ids) :], strict=True)):
        ranked = sorted(place.items(), key=lambda item: int(item[1]["rank"]))[:k]
        if len(ranked) < k:
            raise ValueError(f"{len(ranked)} candidates instead of {k}")
        entries = [(str(token), place[str(token)]), *ranked]
        tokens[row] = [int(name) for name, _ in entries]
        logprobs[row] = [_logprob(entry["logprob"]) for _, entry in entries]
    return tokens, logprobs
