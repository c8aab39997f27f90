"""Generation and scoring with vLLM's offline engine, in processes of its own (vllm_worker.py).

Requests go out grouped by clip, so that the audio encoder's and the prefix cache serve all questions and samples of a clip. Log-probabilities
are vLLM's raw ones, at temperature 1 and before any constraint. Which requests share a step changes the last bits of a sum, so, unlike the
transformers engine's, a token may change in other company where two candidates tie to within about 1e-5.
"""

import contextlib
import importlib.util
import itertools
import logging
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from tasks.common.errors import UserError
from tasks.engines.base import Completion, EngineError, Request, Schema, schema_each
from tasks.engines.options import EngineOptions
from tasks.engines.prompts import Prompts, audio_keys, sample_seed
from tasks.engines.topk import Scorer, Scores
from tasks.engines.vllm_folder import vllm_folder
from tasks.engines.vllm_worker import COUNTERS

log = logging.getLogger("dinproof")

WORKER = Path(__file__).with_name("vllm_worker.py")
CHUNK = 512  # requests a message: their samples are in two processes at once, 1 GB at 30 s
END_S = 20.0
STEP_TOKENS = 4096  # of one step: bounds what prompt log-probabilities take outside vLLM's own accounting, 8 bytes x 4096 x vocabulary


class VllmGenerator(Scorer):
    """A `Generator` (see base.py) over a `from_pretrained` folder."""

    def __init__(self, folder: Path, options: EngineOptions, **more: Any) -> None:
        """Start the processes and load the model; `more` are further arguments of vllm.LLM. Raises UserError where this cannot be."""
        self.prompts = Prompts(folder)
        self.prompts.context = min(self.prompts.context, options.max_model_len or self.prompts.context)
        self.window_s, self.context = self.prompts.window_s, self.prompts.context
        settings = {
            "model": str(vllm_folder(folder).resolve()),
            "tensor_parallel_size": options.tensor_parallel,
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "max_model_len": self.context,
            "max_num_batched_tokens": STEP_TOKENS,
            "max_logprobs": -1,
            "limit_mm_per_prompt": self.prompts.family.MODALITIES,
            "mm_processor_cache_gb": 1,  # requests come clip by clip, so a small one does
            "disable_log_stats": False,
            "use_tqdm_on_load": False,
            # Free white space lets a weak model print nothing else until its tokens are used up.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            "seed": 0,
            **more,
        }
        self.workers = [_Worker(options, number) for number in range(options.data_parallel)]
        for worker in self.workers:
            worker.send(settings)
        for worker in self.workers:
            answer = worker.receive()
            if "error" in answer:
                raise UserError("engine vllm", f"cannot load {folder}: {answer['error']}", "See docs/engines.md")

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
        common = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 0, **self._ends()}
        draws = n if temperature > 0.0 else 1
        keys = audio_keys(requests)
        seeds = [sample_seed(request.prompt, key, seed) if temperature > 0.0 else None for request, key in zip(requests, keys, strict=True)]
        schemas = schema_each(schema, len(requests))
        params = [{**common, "n": draws, "seed": start, "schema": obeyed} for start, obeyed in zip(seeds, schemas, strict=True)]
        prompts = [self._prompt(request, key, []) for request, key in zip(requests, keys, strict=True)]
        found = self._ask(keys, prompts, params, None)
        return [[self.prompts.completion(*choice) for choice in row] * (n // draws) for row in found]

    def sample(
        self, requests: Sequence[Request], *, n: int, temperature: float, max_new_tokens: int, seeds: Sequence[int]
    ) -> list[list[tuple[list[int], list[float]]]]:
        """`n` samples a request as (tokens, their log-probabilities); sample i of a request is drawn from its seed plus i. No token is ruled out."""
        self.prompts.check(requests, [max_new_tokens] * len(requests))
        common = {"n": n, "max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 0, "stop_token_ids": self.prompts.end_ids}
        keys = audio_keys(requests)
        prompts = [self._prompt(request, key, []) for request, key in zip(requests, keys, strict=True)]
        found: list[list[tuple[list[int], list[float]]]] = self._ask(keys, prompts, [{**common, "seed": seed} for seed in seeds], None)
        return found

    def reload(self, folder: Path) -> None:
        """Take over the weights (`*.safetensors`, the hub's names) of a folder. Raises UserError where the engine cannot."""
        for worker in self.workers:
            worker.send({"weights": str(folder)})
        for worker in self.workers:
            answer = worker.receive()
            if "error" in answer:
                raise UserError("engine vllm", f"cannot take over the weights: {answer['error']}", "See docs/engines.md")

    def statistics(self) -> dict[str, int]:
        """Look-ups and hits of the prefix cache (tokens) and of the audio cache (clips) since the start, over all processes."""
        return {name: sum(worker.counters[name] for worker in self.workers) for name in COUNTERS}

    def close(self) -> None:
        """End the processes, which frees their memory."""
        for worker in self.workers:
            worker.close()

    def scores(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], k: int) -> list[Scores]:
        # vLLM wants room for one more token, which it generates and nobody reads.
        self.prompts.check(requests, [len(ids) + 1 for ids in token_ids])
        params = [{"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": k} for _ in requests]
        keys = audio_keys(requests)
        prompts = [self._prompt(request, key, ids) for request, key, ids in zip(requests, keys, token_ids, strict=True)]
        found: list[Scores] = self._ask(keys, prompts, params, [(len(ids), k) for ids in token_ids])
        return found

    def _ends(self) -> dict[str, Any]:
        # A bias of minus infinity: a placeholder in a response would ask for audio that does not exist.
        bias = None if self.prompts.audio_id is None else {self.prompts.audio_id: -float("inf")}
        return {"stop_token_ids": self.prompts.end_ids, "logit_bias": bias}

    def _prompt(self, request: Request, key: str | None, response: Sequence[int]) -> dict[str, Any]:
        prompt: dict[str, Any] = {"prompt_token_ids": [*self.prompts.ids([request])[0], *response]}
        if request.audio is not None:
            prompt |= {"multi_modal_data": {"audio": [request.audio]}, "multi_modal_uuids": {"audio": [key]}}
        return prompt

    def _ask(self, keys: Sequence[str | None], prompts: list[Any], params: list[Any], tails: list[tuple[int, int]] | None) -> list[Any]:
        """One row a request, in their order; chunk by chunk, every chunk spread over the processes by clip."""
        by_clip = sorted(range(len(keys)), key=lambda i: (keys[i] or "", i))
        rows: dict[int, Any] = {}
        for start in range(0, len(keys), CHUNK):
            shares = _shares(keys, by_clip[start : start + CHUNK], len(self.workers))
            for worker, share in zip(self.workers, shares, strict=True):
                if share:
                    message = {"prompts": [prompts[i] for i in share], "params": [params[i] for i in share]}
                    worker.send(message if tails is None else {**message, "tails": [tails[i] for i in share]})
            answers = {number: self.workers[number].receive() for number, share in enumerate(shares) if share}
            for number, answer in answers.items():
                if "error" not in answer:
                    rows |= dict(zip(shares[number], answer["rows"], strict=True))
                    self.workers[number].counters = answer["counters"]
            errors = [answer["error"] for answer in answers.values() if "error" in answer]
            if errors:
                raise EngineError("engine vllm", rows, {i: errors[0] for i in range(len(keys)) if i not in rows})
        counts = self.statistics()
        log.info(
            "vllm: %d requests; since the start the prefix cache served %d of %d prompt tokens, the audio cache %d of %d clips",
            *(len(keys), counts["prefix_cache_hits"], counts["prefix_cache_queries"], counts["mm_cache_hits"], counts["mm_cache_queries"]),
        )
        return [rows[i] for i in range(len(keys))]


class _Worker:
    """A process of vllm_worker.py and the pipe to it. It ends when this object, or this process, does."""

    def __init__(self, options: EngineOptions, number: int) -> None:
        if options.python is None and importlib.util.find_spec("vllm") is None:
            todo = "pip install '.[vllm]' as `make test` does, or name another environment's interpreter as the engine option python"
            raise UserError("engine vllm", "vLLM is not in this environment", todo)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.pipe, theirs = Pipe()
        # -P: this folder's modules must not shadow the environment's.
        command = [str(options.python or sys.executable), "-P", "-W", "ignore", str(WORKER), str(theirs.fileno())]
        try:
            # Its standard output is vLLM's chatter, and belongs with the log.
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=_environment(options, number), stdout=2)
        except OSError as error:
            raise UserError("engine options: python", f"cannot run {command[0]}: {error.strerror}", "Give an interpreter that has vLLM") from None
        theirs.close()
        self.close = weakref.finalize(self, _end, self.pipe, self.process)

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a dead process shows in `receive`, with its status
            self.pipe.send(message)

    def receive(self) -> dict[str, Any]:
        """The answer; a message with `error` where the process has ended."""
        try:
            answer: dict[str, Any] = self.pipe.recv()
        except (EOFError, OSError):
            return {"error": f"its process ended with status {self.process.wait()}"}
        return answer


def _end(pipe: Any, process: "subprocess.Popen[bytes]") -> None:
    """Let the process end, so that its memory is free afterwards; it is killed where it is still at work."""
    pipe.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(options: EngineOptions, number: int) -> dict[str, str]:
    """The environment as it is, with copy `number`'s own GPUs where there are several copies."""
    if options.data_parallel == 1:
        return dict(os.environ)
    total = options.data_parallel * options.tensor_parallel
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(total)))).split(",")
    own = visible[number * options.tensor_parallel : (number + 1) * options.tensor_parallel]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(own)}


def _shares(keys: Sequence[str | None], chunk: Sequence[int], workers: int) -> list[list[int]]:
    """The request numbers of a chunk, in order, dealt to the workers clip by clip; requests without audio one by one."""
    shares: list[list[int]] = [[] for _ in range(workers)]
    groups = itertools.groupby(chunk, key=lambda i: keys[i] or i)
    for number, (_, members) in enumerate(groups):
        shares[number % workers] += members
    return shares
