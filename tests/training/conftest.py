"""A random tiny model and a small random curriculum, so that nothing here waits for a trained one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_material import CAAD, ECHO, OPTIMISER, WORDS, wave_of

from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import ModelParams
from tasks.common.audio import Wave, encode_flac
from tasks.engines import qwen2_audio as family
from tasks.items.prompt import prompt_text, response_text
from tasks.training.params import CaadParams, EchoDistillParams


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `from_pretrained` folder with random weights, larger than at initialisation so that its answers differ."""
    texts = [f" {word}" for word in [*WORDS, "first", "word?", "options:", "what"]]
    processor = build_processor(texts, window_s=1)
    model = build_model(processor, ModelParams())
    with torch.no_grad():
        model.lm_head.weight.mul_(8.0)
        model.model.multi_modal_projector.linear.weight.mul_(20.0)
    folder = tmp_path_factory.mktemp("models") / "backbone"
    save(model, processor, folder)
    return folder


@pytest.fixture
def pair(backbone: Path) -> tuple[Any, Any]:
    """(model in float64, processor)."""
    torch.set_num_threads(1)
    return family.load(backbone, torch.device("cpu"), torch.float64)


@pytest.fixture
def rows(pair: tuple[Any, Any]) -> list[dict[str, Any]]:
    """Eight rows of two stages; the last has no clean reference."""
    tokenizer = pair[1].tokenizer
    made = []
    for number in range(8):
        spoken = [WORDS[number % 4], WORDS[(number + 1) % 4]][: 1 + number % 2]
        ids = [*tokenizer(response_text(spoken, spoken[0]))["input_ids"], tokenizer.eos_token_id]
        taught = number < 7
        made.append(
            {
                "mixture_id": f"{number:016x}",
                "item_id": f"{number + 100:016x}",
                "clip_id": f"clip{number % 3}",
                "stage": 1 + number % 2,
                "task": "first",
                "prompt": prompt_text("first word?", WORDS[: 2 + number % 3]),
                "options": WORDS[: 2 + number % 3],
                "answer": spoken[0],
                "audio": {"bytes": encode_flac(wave_of(f"noisy{number}", 0.5 + 0.06 * number)), "path": None},
                "reference_token_ids": ids if taught else None,
                "reference_correct": number != 2 if taught else None,
                "pseudo_gt_token_ids": ids,
            }
        )
    return made


@pytest.fixture
def waves() -> dict[str, Wave]:
    return {f"clip{number}": wave_of(f"clean{number}", 0.7) for number in range(3)}


@pytest.fixture
def echo_params() -> Callable[..., EchoDistillParams]:
    return lambda **changes: EchoDistillParams.model_validate({**OPTIMISER, **ECHO, **changes})


@pytest.fixture
def caad_params() -> Callable[..., CaadParams]:
    return lambda **changes: CaadParams.model_validate({**OPTIMISER, **CAAD, **changes})
