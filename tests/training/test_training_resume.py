"""Checkpoints: a run that was killed ends as one that was not, to the bit; and what does not count is not gone on from."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from training_material import training_section

from tasks.common.audio import Wave, encode_flac
from tasks.common.errors import UserError
from tasks.common.tables import write_parquet
from tasks.training import checkpoints, data, stage, trainer
from tasks.training.checkpoints import RECIPE, Run, complete
from tasks.training.watch import Watch

ROOT = Path(__file__).parents[2]


class StoppedError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture
def setup(project: Path) -> Callable[..., None]:
    """Writes the project's parameters; runs of six steps and a checkpoint every two."""

    def of(**common: Any) -> None:
        section = training_section(common={"steps": 6, "save_every": 2, "validate_every": 3, "validate_rows": 2, **common}, log_every=4)
        (project / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "data/corpora", "training": section}))

    of()
    return of


@pytest.fixture
def clips(project: Path, waves: dict[str, Wave]) -> None:
    """The clean clips as files, for runs in processes of their own."""
    (project / "data/corpora").mkdir(parents=True)
    rows = []
    for clip_id, wave in waves.items():
        path = Path("data") / f"{clip_id}.flac"
        (project / path).write_bytes(encode_flac(wave))
        rows.append({"clip_id": clip_id, "path": str(path), "sampling_rate": 16_000})
    write_parquet(project / "data/catalog/speech.parquet", pa.Table.from_pylist(rows))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def start(method: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "tasks.training", method], env=environment, stderr=subprocess.PIPE, text=True)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A patch that ends a run after `step`, before its checkpoint."""
    after = Watch.on_step_end

    def stopping(self: Watch, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        after(self, args, state, control, **kwargs)
        if state.global_step == step:
            self.bar.close()
            raise StoppedError

    context = monkeypatch.context()
    context.__enter__().setattr(Watch, "on_step_end", stopping)
    return context


def interrupted(method: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    context = stop_at(step, monkeypatch)
    with pytest.raises(StoppedError):
        stage.run(method)
    context.__exit__(None, None, None)


def test_a_run_killed_with_signal_9_goes_on_to_the_same_bytes(
    project: Path, setup: Callable[..., None], clips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup(steps=8, lambda_features=0.5)
    first = start("echodistill")
    while not list((project / "models/.runs").glob("*/checkpoint-4/recipe.json")) and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL, first.stderr and first.stderr.read()
    second = start("echodistill")
    _, said = second.communicate(timeout=240)
    assert second.returncode == 0 and "resuming from step" in said, said
    resumed = files_of(project / "models/echodistill")
    monkeypatch.setattr(stage, "clean_waves", data.clean_waves)  # from the files too
    stage.run("echodistill")
    assert files_of(project / "models/echodistill") == resumed
    assert sorted(path.name for path in (project / "models").iterdir()) == ["backbone", "echodistill"]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("caad", {}),
        ("echodistill", {"accumulate": 2}),
        ("echodistill", {"curriculum": {"schedule": "adaptive"}}),
        ("grpo", {"ema": 0.0, "clean_share": 0.0}),
        ("sft", {"lora": {"rank": 2, "alpha": 4, "targets": "linear"}}),
    ],
)
def test_an_interrupted_run_ends_as_a_whole_one(
    method: str, changes: dict[str, Any], project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup(**changes)
    stage.run(method)
    whole = files_of(project / "models" / method)
    interrupted(method, 5, monkeypatch)
    torch.rand(3)
    stage.run(method)
    assert files_of(project / "models" / method) == whole
    assert [json.loads(line)["step"] for line in whole["train_log.jsonl"].decode().splitlines()[:3]] == [3, 4, 6]


def test_two_checkpoints_are_kept_and_none_after_success(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    setup(save_every=1)
    interrupted("sft", 5, monkeypatch)
    (folder,) = (project / "models/.runs").iterdir()
    assert [path.name for path in complete(folder)] == ["checkpoint-3", "checkpoint-4"]
    stage.run("sft")
    assert not (project / "models/.runs").exists()


def test_a_half_written_checkpoint_is_ignored(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run("sft")
    whole = files_of(project / "models/sft")
    interrupted("sft", 5, monkeypatch)
    (folder,) = (project / "models/.runs").iterdir()
    (folder / "checkpoint-4" / RECIPE).unlink()
    (folder / "checkpoint-4" / "weights.safetensors").write_bytes(b"half")
    assert [path.name for path in complete(folder)] == ["checkpoint-2"]
    stage.run("sft")
    assert files_of(project / "models/sft") == whole


def test_a_checkpoint_of_other_parameters_is_left_alone_and_named(
    project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted("sft", 5, monkeypatch)
    (folder,) = (project / "models/.runs").iterdir()
    before = files_of(folder)
    setup(learning_rate=2e-3)
    caplog.set_level("INFO", "dinproof")
    stage.run("sft")
    assert "checkpoint-4: left alone" in caplog.text and "run.learning_rate: 0.001 there, 0.002 here" in caplog.text
    assert "resuming" not in caplog.text
    assert files_of(folder) == before


def test_a_checkpoint_put_there_from_other_parameters_is_refused(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted("sft", 5, monkeypatch)
    (theirs,) = (project / "models/.runs").iterdir()
    setup(clip_norm=0.5)
    interrupted("sft", 3, monkeypatch)
    (ours,) = (path for path in (project / "models/.runs").iterdir() if path != theirs)
    (theirs / "checkpoint-4").rename(ours / "checkpoint-4")
    with pytest.raises(UserError, match=r"checkpoint-4: a checkpoint of another run \(run.clip_norm: 1.0 there, 0.5 here\)"):
        stage.run("sft")


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def torch_full_disk(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 0")


def test_a_full_disk_is_one_error_and_loses_nothing(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run("sft")
    whole = files_of(project / "models/sft")
    interrupted("sft", 3, monkeypatch)
    (folder,) = (project / "models/.runs").iterdir()
    before = files_of(folder / "checkpoint-2")
    for module, name, fails in ((trainer, "save_file", full_disk), (torch, "save", torch_full_disk), (checkpoints, "sync", full_disk)):
        with monkeypatch.context() as full:
            full.setattr(module, name, fails)
            with pytest.raises(UserError, match=r"the checkpoint of step 4 could not be written .*it goes on from step 2"):
                stage.run("sft")
        assert [path.name for path in folder.iterdir()] == ["checkpoint-2"] and files_of(folder / "checkpoint-2") == before
    stage.run("sft")
    assert files_of(project / "models/sft") == whole


def test_a_disk_that_is_full_when_publishing_keeps_the_run(project: Path, setup: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(stage, "write_model", full_disk)
        with pytest.raises(UserError, match=r"models/sft: the trained model could not be written \(.*No space left"):
            stage.run("sft")
    (folder,) = (project / "models/.runs").iterdir()
    assert complete(folder)[-1].name == "checkpoint-6"
    steps: list[int] = []
    monkeypatch.setattr(Watch, "on_step_end", lambda self, args, state, control, **kwargs: steps.append(state.global_step))
    stage.run("sft")
    assert not steps and (project / "models/sft/config.json").is_file()


def test_the_folder_of_a_run_hangs_on_its_whole_recipe(tmp_path: Path) -> None:
    runs = [Run("sft", recipe, tmp_path) for recipe in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}, {"a": 1})]
    assert runs[0].folder == runs[1].folder and len({run.folder for run in runs}) == 3
