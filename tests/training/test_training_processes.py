"""The same step whatever it is cut into: micro-batches or processes.

What may differ is the rounding of sums. A rollout's draws are its own, but one that falls within that rounding of a boundary between two
tokens picks the other, and from there on the runs are two; that did not happen in these, which are short.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_material import training_section

from tasks.common.audio import Wave, encode_flac
from tasks.common.errors import UserError
from tasks.common.tables import write_parquet
from tasks.training import data, passes, stage
from tasks.training.trainer import MethodTrainer, through

ROOT = Path(__file__).parents[2]
COMMON: dict[str, Any] = {"steps": 3, "batch_items": 8, "lambda_features": 0.5, "ema": 0.0, "save_every": 0, "validate_every": 0}


@pytest.fixture
def setup(project: Path) -> Callable[..., None]:
    """Writes the project's parameters."""

    def of(common: dict[str, Any], **methods: Any) -> None:
        section = training_section(common={**COMMON, **common}, **methods)
        (project / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "data/corpora", "training": section}))

    return of


@pytest.fixture
def rambling(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random model's responses end at many a token, so their lengths differ, and earn by their letters, so their rewards do."""
    monkeypatch.setattr(passes, "end_ids", lambda model: list(range(0, len(processor.tokenizer), 5)))
    monkeypatch.setattr(passes, "task_reward", lambda text, options, answer: len(set(text)) % 3 / 2)


def result(project: Path, method: str) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights and log of a trained model."""
    folder = project / "models" / method
    return load_file(folder / "model.safetensors"), [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def assert_same(one: Any, other: Any, start: dict[str, torch.Tensor]) -> None:
    """Weights to a five-hundredth of the way they have come, figures to 1e-3 of themselves.

    The way as a length: Adam makes a whole step of an entry's gradient even where that is rounding alone.
    """
    moved = sum((one[0][key] - start[key]).square().sum() for key in start) ** 0.5
    apart = sum((one[0][key] - other[0][key]).square().sum() for key in start) ** 0.5
    assert moved > 1e-3 and apart < 2e-3 * moved, float(apart / moved)
    assert len(one[1]) == len(other[1])
    for line, same in zip(one[1], other[1], strict=True):
        assert line == {key: value if isinstance(value, str) else pytest.approx(value, rel=1e-3, abs=1e-5) for key, value in same.items()}


@pytest.mark.parametrize(("method", "own"), [("echodistill", {}), ("caad", {}), ("grpo", {"loss": "dapo", "kl_weight": 0.1}), ("combination", {})])
def test_one_batch_of_eight_is_eight_of_one(
    method: str, own: dict[str, Any], project: Path, backbone: Path, setup: Callable[..., None], rambling: None
) -> None:
    results = []
    for accumulate in (1, 8):
        setup({"accumulate": accumulate}, **{method: own})
        stage.run(method)
        results.append(result(project, method))
    assert_same(*results, load_file(backbone / "model.safetensors"))


def test_dapo_weighs_every_token_of_the_step_alike(
    project: Path, backbone: Path, setup: Callable[..., None], rambling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above goes red where each micro-batch divides by its own tokens."""
    setup({"accumulate": 1}, grpo={"loss": "dapo"})
    stage.run("grpo")
    whole = result(project, "grpo")
    setup({"accumulate": 8}, grpo={"loss": "dapo"})
    monkeypatch.setattr(MethodTrainer, "tokens_first", property(lambda self: False, lambda self, value: None), raising=False)
    stage.run("grpo")
    with pytest.raises(AssertionError):
        assert_same(whole, result(project, "grpo"), load_file(backbone / "model.safetensors"))


def test_one_process_is_two(
    project: Path, backbone: Path, waves: dict[str, Wave], setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data/corpora").mkdir(parents=True)
    clips = [{"clip_id": clip_id, "path": f"data/{clip_id}.flac", "sampling_rate": 16_000} for clip_id in waves]
    for clip in clips:
        (project / str(clip["path"])).write_bytes(encode_flac(waves[str(clip["clip_id"])]))
    write_parquet(project / "data/catalog/speech.parquet", pa.Table.from_pylist(clips))
    setup({"accumulate": 2, "save_every": 2, "validate_every": 2, "ema": 0.5, "curriculum": {"schedule": "adaptive"}}, echodistill={"loss": "dapo"})
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "catalogs/accelerate/cpu.yaml"),
        "--main_process_port",
        "0",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, "-m", "tasks.training", "echodistill"], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training@echodistill: done") == 1, "one process tells"
    two = result(project, "echodistill")
    monkeypatch.setattr(stage, "clean_waves", data.clean_waves)
    stage.run("echodistill")
    assert_same(two, result(project, "echodistill"), load_file(backbone / "model.safetensors"))
    assert not (project / "models/.runs").exists()


def test_a_batch_that_does_not_divide_is_refused(project: Path, setup: Callable[..., None]) -> None:
    setup({"accumulate": 3})
    with pytest.raises(UserError, match="8 items do not divide into 3 micro-batches"):
        stage.run("sft")


def test_several_passes_are_one_forward_of_the_wrapper() -> None:
    """Data parallelism sees one forward, which is the loss, and the model's own forward is back inside it and after."""

    class Wrapper(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self) -> Any:
            self.calls += 1
            return self.module()

    inner = torch.nn.Linear(2, 1)
    wrapped = Wrapper(inner)
    given = torch.ones(1, 2)
    loss = through(wrapped, inner, lambda: (inner(given) + inner(2 * given)).sum())
    assert wrapped.calls == 1 and "forward" not in inner.__dict__
    assert torch.equal(loss, (inner(given) + inner(2 * given)).sum())
    with pytest.raises(ZeroDivisionError):
        through(wrapped, inner, lambda: torch.tensor(1 / 0))
    assert torch.equal(inner(given), torch.nn.functional.linear(given, inner.weight, inner.bias))
