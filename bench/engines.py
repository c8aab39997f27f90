"""The vllm engine against the transformers engine: requests a second, n = 8 samples, one CPU thread each, the same requests in one run.

Two models: a Qwen2-Audio of 100 million random weights with the published 30 s of features, the largest shape that can be measured here in
minutes, asked about clips of 10 s as in a curriculum; and the embedded default's shape with its 2 s window, where vLLM still reads 30 s of
features a clip. CPU seconds of all processes are counted, loading is not. Random weights hardly ever end a response, so both engines write
all of its tokens.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.table import Row

CLIPS, QUESTIONS, SAMPLES, TOKENS = 4, 4, 8, 24  # sixteen requests are one full batch of the transformers engine
WORDS = [f" {word}" for word in ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog")]
TEXT = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12}
AUDIO = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536, "num_mel_bins": 80}  # Whisper tiny's


def write_large(folder: Path) -> int:
    """The large model with random weights; the number of them."""
    import torch
    from transformers import GenerationConfig, Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    from tasks.backbone.model import build_processor, save

    processor = build_processor(WORDS, 30)
    vocabulary, end = len(processor.tokenizer), processor.tokenizer.eos_token_id
    config = Qwen2AudioConfig(
        audio_config={**AUDIO, "max_source_positions": 1500},
        text_config={**TEXT, "vocab_size": vocabulary, "max_position_embeddings": 4096, "model_type": "qwen2"},
        audio_token_index=processor.audio_token_id,
    )
    torch.manual_seed(0)
    model = Qwen2AudioForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=processor.tokenizer.pad_token_id)
    save(model, processor, folder)
    return sum(weight.numel() for weight in model.parameters())


def write_embedded(folder: Path) -> int:
    """The embedded default's shape with random weights; the number of them."""
    from tasks.backbone.model import build_model, build_processor, save
    from tasks.backbone.params import ModelParams

    processor = build_processor(WORDS, 2)
    model = build_model(processor, ModelParams())
    save(model, processor, folder)
    return sum(weight.numel() for weight in model.parameters())


def requests(clips: int, seconds: float) -> list[Any]:
    """Four questions about each clip."""
    from tasks.engines import Request

    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.standard_normal(round(seconds * 16000))).astype(np.float32) for _ in range(clips)]
    return [Request(f"the quick brown fox jumps over a lazy dog {question}", wave) for wave in waves for question in range(QUESTIONS)]


def cpu_s(generator: Any) -> float:
    """CPU seconds of this process and of the engine's own."""
    ticks = 0
    for worker in getattr(generator, "workers", []):
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def rate(engine: str, folder: Path, asked: list[Any]) -> tuple[float, dict[str, int]]:
    """(requests a CPU second, cache counters) of an engine, after one request to warm it up."""
    from tasks.engines import Request, load_generator

    generator: Any = load_generator(engine, folder)
    generator.generate([Request("warm up", asked[0].audio[::-1].copy())], n=SAMPLES, temperature=1.0, max_new_tokens=2)
    start = cpu_s(generator)
    found = generator.generate(asked, n=SAMPLES, temperature=1.0, max_new_tokens=TOKENS, seed=1)
    seconds = cpu_s(generator) - start
    assert sum(len(row) for row in found) == len(asked) * SAMPLES
    counters: dict[str, int] = {}
    if engine == "vllm":
        counters = generator.statistics()
        generator.close()
    return len(asked) / seconds, counters


def compared(name: str, write: Callable[[Path], int], clips: int, seconds: float) -> Row:
    """Both engines on the same model and requests."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        weights = write(folder)
        asked = requests(clips, seconds)
        peer, _ = rate("transformers", folder, asked)
        ours, counters = rate("vllm", folder, asked)
    shape = f"{weights / 1e6:.2g} M random weights, {clips} clips of {seconds:g} s x {QUESTIONS} questions, n = {SAMPLES}, {TOKENS} tokens"
    return Row(name, "requests/s", ours, "transformers engine", peer, ours / peer, f"{shape}, a CPU thread each; {json.dumps(counters)}")


def rows() -> list[Row]:
    """Two rows; a GPU's would need a GPU."""
    return [
        compared("vllm_over_transformers", write_large, CLIPS, 10.0),
        compared("vllm_over_transformers_embedded", write_embedded, 4 * CLIPS, 1.8),
    ]
