"""Whole runs of a few steps: the same bytes twice, the order kept, errors in one line, nothing stray left behind."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from training_material import CAAD, ECHO, OPTIMISER

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.common.tables import write_parquet
from tasks.engines import qwen2_audio as family
from tasks.training import data, stage, validate
from tasks.training.data import Curriculum, schedule
from tasks.training.trainer import train

Row = dict[str, Any]


@pytest.fixture
def project(tmp_path: Path, backbone: Path, rows: list[Row], waves: dict[str, Wave], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project root with parameters, a backbone and a curriculum; clean audio comes from the fixture."""
    training = {"threads": 1, "log_every": 1, "cached_views": 100, "validation_rows": 4, "max_new_tokens": 4}
    methods = {"echodistill": {**OPTIMISER, **ECHO}, "caad": {**OPTIMISER, **CAAD}}
    params = {"profile": "tiny", "corpora": "data/corpora", "training": json.loads(json.dumps({**training, **methods}))}
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny.yaml").write_text("training: {}\n")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "backbone").symlink_to(backbone)
    for name, chosen in (("train/1", rows), ("heldout/validation", rows[:6])):
        write_parquet(tmp_path / "data" / "curriculum" / f"{name}.parquet", pa.Table.from_pylist(chosen))
    monkeypatch.chdir(tmp_path)
    for module in (stage, validate):
        monkeypatch.setattr(module, "clean_waves", lambda _: waves)
    return tmp_path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("method", ["echodistill", "caad"])
def test_two_runs_give_the_same_bytes(method: str, project: Path, backbone: Path) -> None:
    counts = stage.run(method)
    first = files_of(project / "models" / method)
    torch.rand(7)
    stage.run(method)
    second = files_of(project / "models" / method)
    assert first == second
    assert counts.done["steps"] == 3
    assert set(first) == {*files_of(backbone), "train_log.jsonl"}
    assert [name for name, content in files_of(backbone).items() if content != first[name]] == ["model.safetensors"]
    assert sorted(path.name for path in (project / "models").iterdir()) == ["backbone", method]
    lines = [json.loads(line) for line in first["train_log.jsonl"].decode().splitlines()]
    assert [line["step"] for line in lines[:3]] == [1, 2, 3]
    assert [line["model"] for line in lines[3:]] == ["base", method]
    assert all(0 <= line["acc_noisy"] <= 1 and line["n"] == 4 for line in lines[3:])


def test_a_run_on_the_cached_teacher_is_near_the_live_one_and_repeats(project: Path) -> None:
    def losses(tokens: int | None) -> list[float]:
        (project / "profiles" / "tiny.yaml").write_text(yaml.safe_dump({"training": {"caad": {"cached_tokens": tokens, "negative": "drop_audio"}}}))
        stage.run("caad")
        lines = [json.loads(line) for line in (project / "models/caad/train_log.jsonl").read_text().splitlines()]
        return [line["kl"] for line in lines if "kl" in line]

    live, cached = losses(None), losses(1000)
    assert cached == losses(1000) and len(cached) == 3
    assert cached != live and cached[0] == pytest.approx(live[0], rel=0.02)


def test_the_trained_folder_opens_as_the_backbone_does(project: Path, backbone: Path) -> None:
    from safetensors.torch import load_file

    stage.run("caad")
    trained, base = (load_file(folder / "model.safetensors") for folder in (project / "models" / "caad", backbone))
    assert {key: value.shape for key, value in trained.items()} == {key: value.shape for key, value in base.items()}
    from transformers import Qwen2AudioForConditionalGeneration

    _, report = Qwen2AudioForConditionalGeneration.from_pretrained(project / "models" / "caad", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_echodistill_leaves_out_what_has_no_reference(project: Path) -> None:
    assert len(data.training_rows("reference")) == 7
    assert len(data.training_rows("pseudo_gt")) == 8


@pytest.mark.parametrize("argument", [(), ("grpo",)])
def test_an_unknown_method_names_the_known_ones(argument: tuple[str, ...], project: Path) -> None:
    with pytest.raises(UserError, match="echodistill, caad"):
        stage.run(*argument)


def run_with(objective: Any, pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave], params: Any) -> list[dict[str, float]]:
    model, processor = pair
    order = schedule([row["stage"] for row in rows], params.steps, params.batch_items, params.order, 0)
    dataset = Curriculum(rows, waves, processor, ("noisy",), "pseudo_gt", order, [False] * len(order), 100)
    return train("caad", model.float(), processor.tokenizer.pad_token_id, dataset, objective, params, 1)


def test_a_loss_that_is_not_finite_stops_the_run(
    pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave], caad_params: Callable[..., Any]
) -> None:
    def broken(model: Any, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return model.lm_head.weight.sum() * (math.nan if step == 1 else 0.0), {}

    with pytest.raises(UserError, match=r"step 2: the loss is nan.*learning_rate"):
        run_with(broken, pair, rows, waves, caad_params())


def test_batches_come_in_the_order_of_the_schedule_and_steps_are_counted(
    pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave], caad_params: Callable[..., Any]
) -> None:
    seen: list[tuple[int, list[str]]] = []

    def spy(model: Any, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, dict[str, float]]:
        seen.append((step, batch["answer"]))
        return model.lm_head.weight.square().mean(), {"watched": float(step)}

    params = caad_params(order="sequential", steps=4)
    lines = run_with(spy, pair, rows, waves, params)
    order = schedule([row["stage"] for row in rows], 4, 4, "sequential", 0)
    assert seen == [(step, [rows[i]["answer"] for i in order[4 * step : 4 * step + 4]]) for step in range(4)]
    assert [line["watched"] for line in lines] == [0.0, 1.0, 2.0, 3.0]


def test_the_average_is_what_the_model_becomes(backbone: Path, rows: list[Row], waves: dict[str, Wave], caad_params: Callable[..., Any]) -> None:
    ends: dict[float, Any] = {}
    path: list[Any] = []

    def pull(model: Any, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, dict[str, float]]:
        path.append(model.lm_head.weight.detach().numpy().copy())
        return model.lm_head.weight.square().mean(), {}

    for decay in (0.0, 0.5):
        path.clear()
        pair = family.load(backbone, torch.device("cpu"), torch.float32)
        run_with(pull, pair, rows, waves, caad_params(ema=decay, steps=3))
        ends[decay] = pair[0].lm_head.weight.detach().numpy()
    mean = path[0]
    for weight in [path[1], path[2], ends[0.0]]:
        mean = 0.5 * mean + 0.5 * weight
    np.testing.assert_allclose(ends[0.5], mean, rtol=1e-5, atol=1e-7)
    assert np.abs(ends[0.0] - mean).max() > 1e-5
