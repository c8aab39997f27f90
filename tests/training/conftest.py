"""A random tiny model and a small random curriculum, so that nothing here waits for a trained one.

`student` and `teacher` differ, in float64; `rows` are eight of two stages, the last without a clean reference, the third with a teacher
that is wrong. `params("caad", alpha=0.0)` is a method's section in runs of a few steps, `batch([0, 3], ["clean"])` a micro-batch that is a
whole step, `cast(seed=1)` who takes part. `project` is a folder in which `stage.run(method)` works.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from family_material import write_thinker
from training_material import WORDS, batch_of, training_of, training_section, wave_of
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import ModelParams
from tasks.common.audio import Wave, encode_flac
from tasks.common.tables import write_parquet
from tasks.engines import qwen2_audio as family
from tasks.items.prompt import prompt_text, response_text
from tasks.training import stage, validate
from tasks.training.families import TRAINABLE
from tasks.training.params import RolloutParams, RunParams, run_params
from tasks.training.passes import Cast
from tasks.training.rollouts import Rollouts

Row = dict[str, Any]


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `from_pretrained` folder with random weights, larger than at initialisation so that its answers differ."""
    torch.set_num_threads(1)
    texts = [f" {word}" for word in [*WORDS, "first", "word?", "options:", "what"]]
    processor = build_processor(texts, window_s=1)
    model = build_model(processor, ModelParams())
    with torch.no_grad():
        model.lm_head.weight.mul_(8.0)
        model.model.multi_modal_projector.linear.weight.mul_(20.0)
    folder = tmp_path_factory.mktemp("models") / "backbone"
    save(model, processor, folder)
    return folder


@pytest.fixture(scope="session")
def models(backbone: Path) -> tuple[Any, Any, Any]:
    """(model, a copy that differs from it and is frozen, processor), float64; never trained: take `student`."""
    model, processor = family.load(backbone, torch.device("cpu"), torch.float64)
    other = deepcopy(model)
    with torch.no_grad():
        for number, weight in enumerate(other.model.language_model.parameters()):
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number), dtype=weight.dtype))
    return model, other.requires_grad_(False), processor


@pytest.fixture(scope="session")
def processor(models: tuple[Any, Any, Any]) -> Any:
    return models[2]


@pytest.fixture(scope="session")
def teacher(models: tuple[Any, Any, Any]) -> Any:
    """Frozen, float64, and not the student: a mix-up of the two shows."""
    return models[1]


@pytest.fixture
def student(models: tuple[Any, Any, Any]) -> Any:
    """A copy in float64 that a test may train."""
    torch.set_num_threads(1)
    return deepcopy(models[0])


@pytest.fixture(scope="session")
def made_rows(processor: Any) -> list[Row]:
    tokenizer, made = processor.tokenizer, []
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
                "snr_db": [20.0, 10.0, 0.0, -10.0][number % 4],
                "noise_type": ["white", "babble"][number // 4],
                "task": "first",
                "prompt": prompt_text("first word?", WORDS[: 2 + number % 3]),
                "options": WORDS[: 2 + number % 3],
                "answer": spoken[0],
                "transcript": " ".join(spoken) if taught else None,
                "audio": {"bytes": encode_flac(wave_of(f"noisy{number}", 0.5 + 0.06 * number)), "path": None},
                "reference_token_ids": ids if taught else None,
                "reference_correct": number != 2 if taught else None,
                "pseudo_gt_token_ids": [*ids[:-1], *ids[1:]] if number == 1 else ids,  # one that is not the reference
                "kl_to_clean": 0.1 * number if taught else None,
            }
        )
    return made


@pytest.fixture
def rows(made_rows: list[Row]) -> list[Row]:
    """Eight rows of two stages; a test may change them."""
    return [dict(row) for row in made_rows]


@pytest.fixture(scope="session")
def waves() -> dict[str, Wave]:
    return {f"clip{number}": wave_of(f"clean{number}", 0.7) for number in range(3)}


@pytest.fixture(scope="session")
def params() -> Callable[..., Any]:
    """The section of a method in small runs, with changes laid over it."""

    def of(method: str, **changes: Any) -> RunParams:
        return run_params(training_of(**{method: changes}), method)

    return of


@pytest.fixture
def batch(rows: list[Row], waves: dict[str, Wave], processor: Any) -> Callable[..., dict[str, Any]]:
    """Rows by number as a micro-batch that is a whole step."""

    def of(numbers: Sequence[int], views: Sequence[str] = ()) -> dict[str, Any]:
        return batch_of(rows, waves, processor, numbers, views)

    return of


@pytest.fixture
def cast(teacher: Any, processor: Any) -> Callable[..., Cast]:
    """Who takes part, with groups of four of at most six tokens."""

    def of(**changes: Any) -> Cast:
        rollouts = RolloutParams.model_validate(training_section()["common"]["rollouts"])
        return Cast(**{"teacher": teacher, "processor": processor, "rollouts": rollouts, "seed": 0, **changes})

    return of


@pytest.fixture
def drawn(rows: list[Row], processor: Any) -> Callable[[Sequence[int]], Rollouts]:
    """Four rollouts an item as if sampled: right, wrong, another option, nothing but an end; with log-probabilities that are no model's."""

    def of(numbers: Sequence[int]) -> Rollouts:
        tokenizer, found = processor.tokenizer, []
        for number in numbers:
            row = rows[number]
            for text in (f"<answer> {row['answer']} </answer>", "<answer> nothing </answer>", f" {row['options'][-1]}", ""):
                found.append([*tokenizer(text)["input_ids"], tokenizer.eos_token_id])
        width = max(map(len, found))
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids in found])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in found])
        near = -0.3 - torch.rand(mask.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return Rollouts(ids, mask, near * mask, 4)

    return of


@pytest.fixture
def exact_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms in the precision of what they are given: transformers has them in float32, which hides what is not the same below 1e-7."""

    def forward(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        return self.weight * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(Qwen2RMSNorm, "forward", forward)


@pytest.fixture
def project(tmp_path: Path, backbone: Path, rows: list[Row], waves: dict[str, Wave], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project root with parameters, a backbone and a curriculum; clean audio comes from `waves`."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny.yaml").write_text("training: {}\n")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "data/corpora", "training": training_section()}))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "backbone").symlink_to(backbone)
    for name, chosen in (("train/1", rows), ("heldout/validation", rows[:6])):
        write_parquet(tmp_path / "data" / "curriculum" / f"{name}.parquet", pa.Table.from_pylist(chosen))
    monkeypatch.chdir(tmp_path)
    for module in (stage, validate):
        monkeypatch.setattr(module, "clean_waves", lambda _: waves)
    return tmp_path


@pytest.fixture(scope="session")
def thinker(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random thinker of Qwen2.5-Omni, as small, with the backbone's words."""
    folder = tmp_path_factory.mktemp("omni") / "backbone"
    write_thinker(folder, backbone)
    return folder


@pytest.fixture(params=TRAINABLE)
def folder(request: pytest.FixtureRequest, backbone: Path, thinker: Path) -> Path:
    """A model of each family that can be trained."""
    torch.set_num_threads(1)
    return {"qwen2_audio": backbone, "qwen2_5_omni": thinker}[request.param]
