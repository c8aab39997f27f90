"""Cards of every checkpoint: those of a mean of runs, of a pretrained backbone, and all of them by one command."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from dvc.repo import Repo
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from flows.command import main
from flows.command.recorded import recorded_models
from tasks.training.average import average


def status(*argv: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["card", *argv])
    return left.value.code


def mean_of(name: str, *runs: str) -> None:
    """models/<name> as tasks.training.average writes it; the runs' own files stay as they are recorded."""
    folders = []
    for run in runs:
        folder = Path("runs") / run
        folder.mkdir(parents=True)
        save_file({"weight": torch.full((2,), float(len(folders)))}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"architectures": ["Qwen2AudioForConditionalGeneration"]}))
        folders.append(folder)
    average(folders, Path("models") / name)


def test_a_mean_of_recorded_runs_has_heard_what_they_have(world: Path) -> None:
    mean_of("mean", "backbone", "caad")
    assert status("mean", "--out", "out") == 0
    text = ModelCard.load("out/README.md").text
    for said in ("`python -m tasks.training.average mean backbone caad`", "from models/backbone, models/caad", "6 corpus files", "CC-BY-3.0"):
        assert said in text, said


def test_a_mean_of_a_run_that_nobody_recorded_has_no_card(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mean_of("mean", "caad", "caad@1")
    assert status("mean", "--out", "out") == 2 and not Path("out").exists()
    assert "models/caad@1, of which it is a mean, was made by no stage of dvc.lock" in capsys.readouterr().err
    models, _ = recorded_models()
    assert "models/caad" in next(model.read for model in models if model.folder == "models/mean")


def test_one_command_writes_a_card_for_every_model_and_says_which_has_none(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--out", "out") == 0
    assert sorted(path.parent.name for path in Path("out").glob("*/README.md")) == ["backbone", "caad"]
    Path("models/found").mkdir()
    Path("models/found/config.json").write_text("{}")
    assert status("--out", "out") == 1
    said = capsys.readouterr().out
    assert "no card: models/found: no stage of dvc.lock made it" in said and "2 of 3 models have their card" in said
    assert not Path("out/found").exists()


@pytest.mark.parametrize(("source", "base"), [("Qwen/Qwen2-Audio-7B-Instruct@abc1", "Qwen/Qwen2-Audio-7B-Instruct"), ("./mine/model", None)])
def test_the_header_names_the_model_of_the_hub_that_it_began_with(source: str, base: str | None, world: Path) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["backbone"]["from"] = source
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with Repo() as repo:
        repo.commit(force=True)
    assert status("caad", "--out", "out") == 0
    card = ModelCard.load("out/README.md")
    assert card.data.base_model == base and f"The backbone is {source}" in card.text
