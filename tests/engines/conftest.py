"""A Qwen2-Audio with random weights, whose responses are long and varied because its logits are spread out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import ModelParams
from tasks.engines import Generator, Request, load_generator

WORDS = ("lamp", "tree", "boat", "cow", "red", "blue")


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = [f" {word}" for word in WORDS] + ["first word? options: a, b transcript: x. <think> </think><answer> </answer>"]
    processor = build_processor(texts, 2)
    model = build_model(processor, ModelParams())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "positions" not in name:
                weight.mul_(6.0)
    save(model, processor, folder)
    return folder


@pytest.fixture(scope="session")
def generator(random_folder: Path) -> Generator:
    return load_generator("transformers", random_folder)


@pytest.fixture(scope="session")
def requests_() -> list[Request]:
    """Text-only and audio requests in turn, of many lengths."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(60):
        options = ", ".join(rng.permutation(WORDS)[: int(rng.integers(2, 6))])
        audio = (0.1 * rng.standard_normal(int(rng.integers(4000, 32000)))).astype(np.float32)
        made.append(Request(f"first word? options: {options}", None if number % 4 == 0 else audio))
    return made
