"""The difficulty stage: the divergence it measures, and which questions are measured, kept or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.fanout import in_process, in_workers
from tasks.common.params import load
from tasks.common.tables import read_rows
from tasks.difficulty import measuring, stage
from tasks.difficulty.measuring import agrees, mean_kl
from tasks.difficulty.params import DifficultyParams
from tasks.items.pairs import pair
from tasks.references import stage as references
from tests import teacher_side


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 9))
def test_mean_kl_is_the_definition(seed: int, tokens: int, vocabulary: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = (rng.dirichlet(np.ones(vocabulary), tokens) + 1e-9 for _ in range(2))
    slow = np.mean([sum(p[t, v] * np.log(p[t, v] / q[t, v]) for v in range(vocabulary)) for t in range(tokens)])
    assert mean_kl(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))) == pytest.approx(max(slow, 0.0), abs=1e-9)


def test_mean_kl_puts_the_teacher_first() -> None:
    sure, open_ = torch.tensor([[0.99, 0.01]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert mean_kl(sure, sure) == 0.0
    assert mean_kl(sure, open_) < mean_kl(open_, sure)


def test_agreement_needs_a_clean_answer() -> None:
    assert agrees("tree", {"answer": "tree"}) is True
    assert agrees(None, {"answer": "tree"}) is False
    assert agrees(None, {"answer": None}) is None
    assert agrees("tree", None) is None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("difficulty")
    teacher_side.build(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        references.run(fan_out=in_process)
        stage.run(fan_out=in_process)
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)


def test_every_noisy_mixture_is_asked_and_only_training_and_validation_are_measured(project: Path) -> None:
    rows = read_rows(stage.DIFFICULTY)
    mixtures = {row["mixture_id"]: row for row in read_rows(stage.MIXTURES)}
    items = {row["item_id"]: row for row in read_rows(stage.ITEMS)}
    noisy = [row for row in mixtures.values() if row["corruption"] == "noise"]
    params = load("difficulty", DifficultyParams)
    assert {(row["mixture_id"], row["item_id"]) for row in rows} == set(pair(noisy, list(items.values()), params.items_per_mixture, params.tasks))
    assert len(rows) == params.items_per_mixture * len(noisy)
    clips = {row["clip_id"]: row["duration_s"] for row in read_rows(Path("data/catalog/speech.parquet"))}
    for row in rows:
        long = clips[mixtures[row["mixture_id"]]["clip_id"]] > 2.0
        assert row["refused"] == ("longer_than_window" if long else None)
        measured = row["split"] != "test" and not long
        assert (row["student_correct"] is not None) == measured
        assert (row["kl_to_clean"] is not None) == (measured and items[row["item_id"]]["task"] != "background")
        assert row["see"] is None


def test_noise_that_is_not_there_changes_nothing(project: Path) -> None:
    measured = [row for row in read_rows(stage.DIFFICULTY) if row["kl_to_clean"] is not None]
    unchanged = [row["kl_to_clean"] for row in measured if row["snr_db"] == 20.0]
    loud = [row["kl_to_clean"] for row in measured if row["snr_db"] == -10.0]
    assert unchanged and max(unchanged) == 0.0
    assert loud and min(loud) > 0.0


def test_one_changed_mixture_costs_one_measurement(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage.DIFFICULTY.read_bytes()
    rows = read_rows(stage.DIFFICULTY)
    dropped = next(row for row in rows if row["kl_to_clean"] is not None)
    stage.write_parquet(stage.DIFFICULTY, [row for row in rows if row is not dropped], stage.SCHEMA)
    counts = stage.run(fan_out=in_process)
    assert counts.done == {"questions": 1} and counts.reused == {"questions": len(rows) - 1}
    assert stage.DIFFICULTY.read_bytes() == before


def test_workers_and_chunks_change_no_byte(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage.DIFFICULTY.read_bytes()
    stage.DIFFICULTY.unlink()
    monkeypatch.setenv("WORKERS", "2")
    monkeypatch.setenv("PYTHONPATH", str(teacher_side.ROOT))
    stage.run(fan_out=in_workers)
    assert stage.DIFFICULTY.read_bytes() == before
    stage.DIFFICULTY.unlink()
    monkeypatch.setattr(measuring, "CHUNK", 3)
    stage.run(fan_out=in_process)
    assert stage.DIFFICULTY.read_bytes() == before
