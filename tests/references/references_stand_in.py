"""A generator that answers from the content of a request alone, notes every request in a file, and can die or fail on the way."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.common.seeds import content_id
from tasks.engines import Completion, EngineError, Request, refusal


@dataclass
class StandIn:
    """`dies_at` and `fails_at` count requests over the life of the notes: the process is killed there, or the server gives up there."""

    notes: Path
    dies_at: int | None = None
    fails_at: int | None = None
    context: int = 10_000
    window_s: float = 2.0

    def refusals(self, requests: Sequence[Request], max_new_tokens: int) -> list[str | None]:
        full = [len(request.prompt) + max_new_tokens > self.context for request in requests]
        return [refusal(request.audio, self.window_s) or ("context_overflow" if over else None) for request, over in zip(requests, full, strict=True)]

    def generate(self, requests: Sequence[Request], *, n: int = 1, seed: int = 0, temperature: float = 0.0, **_: Any) -> list[list[Completion]]:
        finished: dict[int, list[Completion]] = {}
        for number, request in enumerate(requests):
            name = content_id([request.prompt, content_id(request.audio.tobytes()) if request.audio is not None else None])
            with self.notes.open("a") as file:
                file.write(f"{name} {n}\n")
            count = len(self.noted())
            if count == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if count == self.fails_at:
                raise EngineError("http://stand-in", finished, dict.fromkeys(range(number, len(requests)), "HTTP 500"))
            finished[number] = [self.completion(request, content_id([name, seed, temperature, k])) for k in range(n)]
        return list(finished.values())

    def completion(self, request: Request, name: str) -> Completion:
        options = request.prompt.split("options: ")[1].split(", ")
        text = f"<answer> {options[int(name, 16) % len(options)]} </answer>"
        return Completion(text, [int(name, 16) % 97, 1], [-0.25, -0.75], "stop")

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []
