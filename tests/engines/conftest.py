"""A Qwen2-Audio with random weights, and requests to put to it."""

from pathlib import Path

import numpy as np
import pytest

from tasks.engines import Generator, Request, load_generator
from tests import teacher_side

WORDS = ("lamp", "tree", "boat", "cow", "red", "blue")


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    teacher_side.write_model(folder)
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
