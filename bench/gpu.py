"""python -m bench.gpu [--tiny]

Full-size models with random weights on one GPU: a step of EchoDistill with LoRA adapters in bfloat16, its tokens a second, its share of the
card's matrix rate, its memory, and the largest batch that fits; then the same step sharded by FSDP (a group of one). Writes the table into
docs/gpu.md with date and card. `--tiny` runs the same lines with small shapes on a CPU and prints the table: a test of the code, not a figure.
"""

import argparse
import datetime
import gc
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    GenerationConfig,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    WhisperFeatureExtractor,
)

from tasks.backbone.model import build_processor
from tasks.common.audio import RATE
from tasks.common.seeds import rng_of
from tasks.common.tables import write_text
from tasks.engines import qwen2_5_omni
from tasks.training.adapters import adapted
from tasks.training.data import collate
from tasks.training.families import audio_tower, decoder, family_of
from tasks.training.memory import recompute
from tasks.training.methods import Objective, flags, objective
from tasks.training.params import LoraParams, RunParams, TrainingParams, run_params, training_params
from tasks.training.passes import Cast, Passes

PAGE = Path("docs/gpu.md")
MARK = "<!-- measured -->"
LORA = LoraParams(rank=16, alpha=32.0, targets="linear")
WARM, TIMED = 1, 3  # steps
TEXT = "first word? options:"


@dataclass(frozen=True)
class Size:
    """Shapes of a run: clips of `seconds`, `tokens` a response, `group` rollouts an item, batches up to `most` items."""

    seconds: float
    tokens: int
    group: int
    most: int
    matrix: int
    text: dict[str, dict[str, Any]]
    audio: dict[str, Any]


# Published configurations: Qwen2-Audio-7B, and the thinker of Qwen2.5-Omni-3B without its eyes.
FULL = Size(
    seconds=10.0,
    tokens=64,
    group=8,
    most=64,
    matrix=8192,
    text={
        "Qwen2-Audio-7B": {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 156_032,
        },
        "Qwen2.5-Omni-3B thinker": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151_936,
        },
    },
    audio={"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "num_mel_bins": 128},
)
_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
TINY = Size(
    seconds=0.5,
    tokens=6,
    group=2,
    most=2,
    matrix=256,
    text={"Qwen2-Audio-7B": _SMALL, "Qwen2.5-Omni-3B thinker": _SMALL},
    audio={"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128, "num_mel_bins": 32},
)
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "fullatt_block_indexes": [0]}


def build(name: str, size: Size, device: torch.device) -> tuple[Any, Any]:
    """(model in bfloat16 with random weights, processor) of the shapes called `name`."""
    processor = build_processor([TEXT], math.ceil(size.seconds), size.audio["num_mel_bins"])
    tokenizer, text = processor.tokenizer, size.text[name]
    audio: dict[str, Any] = {**size.audio, "max_source_positions": 1500}
    if name.startswith("Qwen2-Audio"):
        processor.feature_extractor = WhisperFeatureExtractor(feature_size=audio["num_mel_bins"], chunk_length=30, return_attention_mask=True)
        config = Qwen2AudioConfig(
            audio_config=audio,
            text_config={**text, "model_type": "qwen2", "max_position_embeddings": 8192},
            audio_token_index=processor.audio_token_id,
        )
        kind = Qwen2AudioForConditionalGeneration
    else:
        token = processor.audio_token_id
        tokenizer.chat_template = processor.chat_template
        extractor = WhisperFeatureExtractor(feature_size=audio["num_mel_bins"], chunk_length=300, return_attention_mask=True)
        processor = qwen2_5_omni.Processor(tokenizer, extractor)
        half = text["hidden_size"] // text["num_attention_heads"] // 2
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [half // 4, (half - half // 4) // 2, (half - half // 4 + 1) // 2]}
        config = Qwen2_5OmniThinkerConfig(
            audio_config={**audio, "output_dim": text["hidden_size"]},
            vision_config={**VISION, "out_hidden_size": text["hidden_size"]},
            text_config={**text, "rope_parameters": rope, "tie_word_embeddings": False},
            audio_token_index=token,
        )
        kind = Qwen2_5OmniThinkerForConditionalGeneration
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            torch.manual_seed(0)
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    # A random model does not end by itself, so every rollout is as long as it may be.
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model, processor


@dataclass(frozen=True)
class Bench:
    """What steps are measured on."""

    student: Any
    cast: Cast
    goal: Objective
    size: Size
    device: torch.device

    def batch(self, items: int) -> dict[str, Any]:
        """`items` examples of noise for sound and random tokens for references."""
        family, processor, size = family_of(self.cast.processor), self.cast.processor, self.size
        text = family.chat_text(processor, TEXT, True)
        examples = []
        for number in range(items):
            rng = rng_of("bench gpu", number)
            wave = (0.1 * rng.standard_normal(int(size.seconds * RATE))).astype(np.float32)
            view = family.inputs(processor, [text], [wave], 1)
            ids = torch.from_numpy(rng.integers(0, 200, size.tokens))
            kept = {
                "position": number,
                "row": number,
                "heard": "noisy",
                "item_id": f"{number}",
                "options": ["a", "b"],
                "answer": "a",
                "kl_to_clean": 0.0,
            }
            marks = {"taught": True, "trusted": True, "has_reference": True, "has_pseudo_gt": True}
            views = {"student": view, **dict.fromkeys(self.goal.views, view)}
            examples.append({**kept, "views": views, "responses": {"reference": ids, "pseudo_gt": ids}, "flags": marks})
        made = collate(examples, processor.tokenizer.pad_token_id)
        batch = {**made, "totals": flags([made]), "copies": 1}
        return {name: _to(value, self.device) for name, value in batch.items()}

    def tokens(self, batch: dict[str, Any]) -> int:
        """Tokens that a step trains on: prompts with their audio, rollouts and references."""
        prompts = int(batch["student"]["attention_mask"].sum())
        return prompts + len(batch["position"]) * self.size.tokens * (self.size.group + 1)


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _to(one, device) for name, one in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


def set_up(name: str, size: Size, device: torch.device) -> Bench:
    """Adapters on a model of those shapes, which teaches with them off."""
    model, processor = build(name, size, device)
    recompute(decoder(model), audio_tower(model))
    student = adapted(model, LORA, ["audio_tower", "projector", "language"], 0).train()
    training: TrainingParams = training_params()
    own: RunParams = run_params(training, "echodistill")
    rollouts = own.rollouts.model_copy(update={"group_size": size.group, "max_new_tokens": size.tokens})
    return Bench(
        student, Cast(student, processor, rollouts, 0, 1.0, teaching=student.disable_adapter), objective(training, "echodistill", own), size, device
    )


def stepper(bench: Bench) -> Callable[[dict[str, Any]], float]:
    """A function that takes one step, with AdamW, and returns its loss."""
    optimiser = torch.optim.AdamW([weight for weight in bench.student.parameters() if weight.requires_grad], lr=1e-5)

    def step(batch: dict[str, Any]) -> float:
        optimiser.zero_grad()
        with torch.autocast(bench.device.type, torch.bfloat16):
            loss = bench.goal(Passes(bench.student, bench.cast, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([weight for weight in bench.student.parameters() if weight.grad is not None], 1.0)
        optimiser.step()
        return loss.item()

    return step


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(step: Callable[[], Any], device: torch.device, times: int = TIMED) -> float:
    """The median time of a step."""
    taken = []
    for number in range(WARM + times):
        synchronise(device)
        start = time.perf_counter()
        step()
        synchronise(device)
        if number >= WARM:
            taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def matrix_rate(size: int, device: torch.device) -> float:
    """Floating-point operations a second of one large bfloat16 product: what the card gives, not what its sheet says."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device, times=10)


def largest(step: Callable[[dict[str, Any]], float], bench: Bench) -> int:
    """The largest power of two, up to `most`, of items whose step fits; 0 where not even one does."""
    items = 1
    while items <= bench.size.most:
        try:
            step(bench.batch(items))
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            gc.collect()
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
        items *= 2
    return items // 2


def measure(name: str, bench: Bench, rate: float) -> str:
    """A row of the table."""
    step = stepper(bench)
    fitting = largest(step, bench)
    if not fitting:
        return f"| {name} | none fits | | | | | |"
    batch = bench.batch(fitting)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken = seconds(lambda: step(batch), bench.device)
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if bench.device.type == "cuda" else "-"
    with FlopCounterMode(display=False) as counted:
        step(batch)
    share = counted.get_total_flops() / taken / rate
    more = " or more" if fitting * 2 > bench.size.most else ""
    parameters = sum(weight.numel() for weight in bench.student.parameters()) / 1e9
    return f"| {name} | {parameters:.2f} | {fitting}{more} | {taken:.2f} | {bench.tokens(batch) / taken:,.0f} | {100 * share:.0f} | {memory} |"


@contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def sharded(bench: Bench) -> Bench:
    """The same with every layer of the decoder and of the audio tower, and the rest, sharded."""
    mesh = dist.device_mesh.init_device_mesh(bench.device.type, (1,))
    for layer in [*decoder(bench.student).layers, *audio_tower(bench.student).layers]:
        fully_shard(layer, mesh=mesh)
    fully_shard(bench.student, mesh=mesh)
    return bench


def table(size: Size, device: torch.device) -> str:
    """The table, one row a model and way."""
    rate = matrix_rate(size.matrix, device)
    head = ["model", "parameters, 10^9", "items a step", "s a step", "tokens/s", "% of the matrix rate", "peak GiB"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for name in size.text:
        lines.append(measure(f"{name}, LoRA", set_up(name, size, device), rate))
        gc.collect()
        with alone(device):
            lines.append(measure(f"{name}, LoRA, FSDP on one", sharded(set_up(name, size, device)), rate))
        gc.collect()
    return "\n".join([*lines, "", f"The card's matrix rate, one product of {size.matrix} x {size.matrix} in bfloat16: {rate / 1e12:.3g} TFLOP/s."])


def main() -> int:
    """Measure, and write the page where there is a GPU."""
    parser = argparse.ArgumentParser(description="Full-size training steps on one GPU.")
    parser.add_argument("--tiny", action="store_true", help="small shapes on the CPU, nothing written")
    tiny = parser.parse_args().tiny
    if tiny:
        print(table(TINY, torch.device("cpu")))
        return 0
    if not torch.cuda.is_available():
        print("error: no GPU here. Pass --tiny to try the code on a CPU", file=sys.stderr)
        return 2
    found = table(FULL, torch.device("cuda"))
    print(found)
    head = f"{datetime.datetime.now(datetime.UTC).date()}, {torch.cuda.get_device_name()}, torch {torch.__version__}"
    page = PAGE.read_text(encoding="utf-8")
    write_text(PAGE, re.sub(f"{MARK}.*{MARK}", lambda _: f"{MARK}\n{head}\n\n{found}\n{MARK}", page, flags=re.S))
    return 0


if __name__ == "__main__":
    sys.exit(main())
