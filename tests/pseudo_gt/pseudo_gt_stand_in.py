"""An author that misbehaves on purpose, each prompt in its own way, and remembers what it was asked."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.engines import Completion, EngineError, Request

Behaviour = Callable[[str, int], str]


def read_prompt(prompt: str) -> dict[str, Any]:
    """The annotation, question and options as they stand in the project's own template."""
    lines = dict(line.split(": ", 1) for line in prompt.splitlines() if ": " in line and not line.startswith("Reply"))
    return {**lines, "options": lines["Options"].split(", ")}


def right(prompt: str) -> dict[str, str]:
    """What a good author replies."""
    known = read_prompt(prompt)
    if "Kind of sound" in known:
        return {"think": "A steady sound.", "answer": known["Kind of sound"]}
    words = known["Words said"].split()
    return {"think": " ".join(words), "answer": words[0 if known["Question"].startswith("first") else -1]}


class Author:
    """`behaviour(prompt, attempt)` is the text of a reply; `fails_at` is the request at which the server gives up."""

    window_s = 2.0

    def __init__(self, behaviour: Behaviour, fails_at: int | None = None, context: int = 10_000) -> None:
        self.behaviour, self.fails_at, self.context = behaviour, fails_at, context
        self.asked: list[tuple[str, int]] = []

    def refusals(self, requests: Sequence[Request], max_new_tokens: int) -> list[str | None]:
        return ["context_overflow" if len(request.prompt) > self.context else None for request in requests]

    def generate(
        self, requests: Sequence[Request], *, max_new_tokens: int, temperature: float, seed: int, schema: Sequence[Mapping[str, Any]]
    ) -> list[list[Completion]]:
        finished: dict[int, list[Completion]] = {}
        for number, (request, form) in enumerate(zip(requests, schema, strict=True)):
            assert request.audio is None, "the author never hears the clip"
            assert form["properties"]["answer"]["enum"] == read_prompt(request.prompt)["options"]
            assert (temperature == 0.0) == (seed == 0), "the first attempt is greedy, the others are drawn"
            if len(self.asked) == self.fails_at:
                raise EngineError("http://stand-in", finished, dict.fromkeys(range(number, len(requests)), "timed out"))
            self.asked.append((request.prompt, seed))
            text = self.behaviour(request.prompt, seed)
            finished[number] = [Completion(text, [1], [0.0], "length" if len(text) > 2000 else "stop")]
        return list(finished.values())


def good(prompt: str, attempt: int) -> str:
    return json.dumps(right(prompt))
