"""vLLM in a process of its own: reads messages from a pipe, answers each, ends with the pipe.

Run by vllm_engine.py as a plain file, under whichever interpreter has vLLM, so it imports nothing of this project; messages hold
plain values and numpy arrays only. CUDA, vLLM's environment variables and its memory stay in here.
"""

import os
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

# Block 32: a clip of one second already fills a shared one. A prompt is read in one step, because vLLM's sampler for the CPU cannot take back
# the draw of a seeded request whose prompt is not read to its end.
CPU_SETTINGS = {"enforce_eager": True, "dtype": "float32", "block_size": 32, "enable_chunked_prefill": False}
GPU_SETTINGS = {"dtype": "bfloat16"}
# Each only where the user has not set it.
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # looking for a GPU must not start CUDA here
    "VLLM_HOST_IP": "127.0.0.1",  # its processes are all on this machine: nobody else is to reach their sockets
    "GLOO_SOCKET_IFNAME": "lo",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
COUNTERS = ("prefix_cache_queries", "prefix_cache_hits", "mm_cache_queries", "mm_cache_hits")
Message = dict[str, Any]


def start(settings: Message) -> Any:
    """The engine; `settings` are arguments of vllm.LLM."""
    os.environ |= ENVIRONMENT | os.environ
    import torch

    gpu = torch.cuda.is_available()
    if not gpu:
        os.environ |= CPU_ENVIRONMENT | os.environ
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        settings["max_num_batched_tokens"] = max(settings["max_num_batched_tokens"], settings["max_model_len"])
    from vllm import LLM

    return LLM(**(GPU_SETTINGS if gpu else CPU_SETTINGS), **settings)


def run(llm: Any, message: Message) -> Message:
    """Outputs of `llm.generate` for the message's prompts, as plain values, with the counters of the caches so far."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    params = []
    for settings in message["params"]:
        schema = settings.pop("schema", None)
        constraint = None if schema is None else StructuredOutputsParams(json=schema)
        params.append(SamplingParams(**settings, structured_outputs=constraint, detokenize=schema is not None, flat_logprobs=True))
    outputs = llm.generate(message["prompts"], params, use_tqdm=False)
    if "tails" in message:
        rows: list[Any] = [scored(output, *asked) for output, asked in zip(outputs, message["tails"], strict=True)]
    else:
        rows = [[sampled(choice) for choice in output.outputs] for output in outputs]
    metrics = {metric.name.removeprefix("vllm:"): metric.value for metric in llm.get_metrics() if hasattr(metric, "value")}
    return {"rows": rows, "counters": {name: int(metrics.get(name, 0)) for name in COUNTERS}}


def reload(llm: Any, weights: str) -> None:
    """Take over the weights of a folder, and forget all that was computed with the old ones."""
    llm.collective_rpc("reload_weights", kwargs={"weights_path": weights})
    llm.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()
    llm.reset_prefix_cache()


def sampled(choice: Any) -> tuple[list[int], list[float]]:
    """Tokens of one response and their log-probabilities; the chosen token leads its place in the flat list."""
    flat = choice.logprobs
    return list(choice.token_ids), [flat.logprobs[start] for start in flat.start_indices]


def scored(output: Any, tail: int, k: int) -> tuple[Any, Any]:
    """(ids, logprobs), each (tail, 1 + k), of the last `tail` prompt tokens: the given token, then the k likeliest."""
    flat = output.prompt_logprobs
    places = range(len(flat) - tail, len(flat))
    ids = [flat.token_ids[flat.start_indices[i] : flat.end_indices[i]] for i in places]
    logprobs = [flat.logprobs[flat.start_indices[i] : flat.end_indices[i]] for i in places]
    return np.array(ids, np.int64).reshape(tail, 1 + k), np.array(logprobs, np.float32).reshape(tail, 1 + k)


def main(pipe: Connection) -> None:
    """The first message holds the engine's settings. A failure is answered with `error` and ends the process: the engine's state is unknown."""
    llm = None
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        try:
            answer: Message = {}
            if llm is None:
                llm = start(message)
            elif "weights" in message:
                reload(llm, message["weights"])
            else:
                answer = run(llm, message)
        except Exception as error:
            pipe.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
            return
        pipe.send(answer)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
