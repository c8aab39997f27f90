"""Whole runs of a few steps: the same bytes twice, the order kept, validation that leaves no trace, nothing stray left behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_material import training_section

from tasks.training import sft, stage
from tasks.training.passes import Passes
from tasks.training.validate import Probe, accuracies, validation_rows


@pytest.fixture
def setup(project: Path) -> Callable[..., None]:
    """Writes the project's parameters."""

    def of(shared: dict[str, Any] | None = None, **common: Any) -> None:
        section = training_section(**(shared or {}), common=common)
        (project / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "data/corpora", "training": section}))

    return of


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines_of(project: Path, method: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "models" / method / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["echodistill", "caad"])
def test_two_runs_give_the_same_bytes(method: str, project: Path, backbone: Path) -> None:
    counts = stage.run(method)
    first = files_of(project / "models" / method)
    torch.rand(7)
    stage.run(method)
    assert files_of(project / "models" / method) == first
    assert counts.done["steps"] == 3
    assert set(first) == {*files_of(backbone), "train_log.jsonl", "heard.yaml", "SHA256SUMS"}
    assert [name for name, content in files_of(backbone).items() if content != first[name]] == ["model.safetensors"]
    assert sorted(path.name for path in (project / "models").iterdir()) == ["backbone", method]
    lines = lines_of(project, method)
    assert [line["step"] for line in lines[:3]] == [1, 2, 3]
    assert all(1 <= line["stage"] <= 3 and -10 <= line["snr_db"] <= 20 for line in lines[:3])
    assert [line["model"] for line in lines[3:]] == ["base", method]
    assert all(0 <= line["acc_noisy"] <= 1 and line["n"] == 4 for line in lines[3:])


def test_the_trained_folder_opens_as_the_backbone_does(project: Path, backbone: Path) -> None:
    stage.run("sft")
    trained, base = (load_file(folder / "model.safetensors") for folder in (project / "models/sft", backbone))
    assert {key: value.shape for key, value in trained.items()} == {key: value.shape for key, value in base.items()}
    from transformers import Qwen2AudioForConditionalGeneration

    _, report = Qwen2AudioForConditionalGeneration.from_pretrained(project / "models/sft", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_validation_on_the_way_is_logged_and_leaves_no_trace(project: Path, setup: Callable[..., None]) -> None:
    setup(steps=5)
    stage.run("echodistill")
    without = load_file(project / "models/echodistill/model.safetensors"), lines_of(project, "echodistill")
    setup(steps=5, validate_every=2, validate_rows=3)
    stage.run("echodistill")
    lines = lines_of(project, "echodistill")
    asked = [line for line in lines if "acc_noisy" in line and "step" in line]
    assert [line["step"] for line in asked] == [2, 4] and all(set(line) == {"step", "acc_noisy", "acc_clean"} for line in asked)
    assert [line for line in lines if line not in asked] == without[1]
    weights = load_file(project / "models/echodistill/model.safetensors")
    assert all(torch.equal(weights[key], without[0][key]) for key in weights)


def test_the_probe_says_what_the_engine_says(project: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one model both are the share of right greedy answers. Judged here by their letters: the random model is never right."""
    from tasks.engines import qwen2_audio
    from tasks.training import validate

    heard: dict[str, list[str]] = {"engine": [], "probe": []}
    for name in heard:

        def judge(text: str, options: list[str], into: list[str] = heard[name]) -> str:
            into.append(text.strip())
            return options[0]

        monkeypatch.setattr(validate, "parse_answer", judge)
        rows = validation_rows(6)
        if name == "engine":
            accuracies(backbone, rows, 4)
        else:
            model, processor = qwen2_audio.load(backbone, torch.device("cpu"), torch.float32)
            model.train()
            Probe(rows, processor, 4)(model)
            assert model.training
    noisy, clean = heard["engine"][:6], heard["engine"][12:]  # the engine is asked in writing between
    assert heard["probe"] == [*noisy, *clean]


def test_events_are_for_tensorboard_and_lie_outside_the_model(project: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stage.run("sft")
    stage.run("sft")  # replaces those of the run before
    events = EventAccumulator(str(project / "reports/tensorboard/sft"))
    events.Reload()
    found = [(event.step, round(event.value, 4)) for event in events.Scalars("loss")]
    assert found == [(line["step"], round(line["loss"], 4)) for line in lines_of(project, "sft")[:3]]


def test_batches_come_in_the_order_of_the_schedule(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    real = sft.loss
    monkeypatch.setattr(sft, "loss", lambda passes, params: seen.append(passes.batch["position"]) or real(passes, params))
    setup(accumulate=2, batch_items=4)
    stage.run("sft")
    assert seen == [[2 * number, 2 * number + 1] for number in range(6)]


def test_the_average_is_what_the_model_becomes(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    path: list[np.ndarray[Any, Any]] = []
    real = sft.loss

    def spied(passes: Passes, params: Any) -> torch.Tensor:
        path.append(passes.student.lm_head.weight.detach().numpy().copy())
        return real(passes, params)

    monkeypatch.setattr(sft, "loss", spied)
    ends = {}
    for decay in (0.0, 0.5):
        path.clear()
        setup(ema=decay)
        stage.run("sft")
        ends[decay] = load_file(project / "models/sft/model.safetensors")["language_model.lm_head.weight"].numpy()
    mean = path[0]
    for weight in [path[1], path[2], ends[0.0]]:
        mean = 0.5 * mean + 0.5 * weight
    np.testing.assert_allclose(ends[0.5], mean, rtol=1e-5, atol=1e-7)
    assert np.abs(ends[0.0] - mean).max() > 1e-5


def test_bf16_trains_near_float32_with_weights_in_float32(project: Path, setup: Callable[..., None]) -> None:
    losses = {}
    for precision in ("float32", "bf16"):
        setup(precision=precision)
        stage.run("caad")
        losses[precision] = [line["loss"] for line in lines_of(project, "caad")[:3]]
        weights = load_file(project / "models/caad/model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.05)
