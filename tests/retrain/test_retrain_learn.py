"""One method retrained for real on a tiny model: what it hears, what is kept, and what stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.engines import model_revision
from tasks.retrain import learn
from tasks.retrain.learn import Job, retrain, retrained, shortened
from tasks.training.params import run_params, training_params


def params_with(**retrain: Any) -> None:
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**params, "retrain": {**params["retrain"], **retrain}}))


def worse(folder: Path, old: Any, new: Any, max_new_tokens: int) -> dict[str, list[bool]]:
    """A candidate that has forgotten everything."""
    return {"old": [folder.name == "kd" and ".candidates" not in str(folder)] * len(old), "clean": [True] * len(old), "new": [True] * len(new)}


def test_a_model_not_worse_is_promoted_with_its_lineage_and_the_first_one_stays(project: Job) -> None:
    before = model_revision(project.start)
    outcome = retrain(project)
    assert outcome["verdict"] == "promoted", outcome["why"]
    assert (outcome["rows_new"], outcome["rows_old"], outcome["rows_gone"]) == (4, 5, 1)
    assert (outcome["steps"], outcome["examples"]) == (2, 8), "a fifth of ten steps of four"
    assert (outcome["scores"]["old"]["n"], outcome["scores"]["new"]["n"]) == (5, 4)
    final = retrained("kd")
    assert model_revision(final) != before == model_revision(Path("models/kd"))
    lineage = yaml.safe_load((final / "lineage.yaml").read_text())
    assert lineage["curricula"] == project.lineage["curricula"]
    (done,) = lineage["retrainings"]
    assert done["outcome"] == outcome
    assert done["settings"]["run.steps"] == 2 and done["settings"]["retrain.replay_share"] == 0.5
    assert json.loads(Path("reports/retrain.json").read_text()) == {"kd": outcome}
    assert sorted(path.name for path in Path("models").iterdir()) == ["backbone", "kd", "kd.retrained"]


def test_the_same_retraining_gives_the_same_weights(project: Job) -> None:
    retrain(project)
    first = (retrained("kd") / "model.safetensors").read_bytes()
    shutil.rmtree(retrained("kd"))
    Path("reports/retrain.json").unlink()
    retrain(project)
    assert (retrained("kd") / "model.safetensors").read_bytes() == first


def test_a_worse_model_is_dropped_and_not_trained_again(project: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    params_with(margin_points=0.5)
    monkeypatch.setattr(learn, "answers", worse)
    outcome = retrain(project)
    assert outcome["verdict"] == "kept" and "-100.00 points, margin 0.5" in outcome["why"]
    assert sorted(path.name for path in Path("models").iterdir()) == ["backbone", "kd"]
    monkeypatch.setattr(learn, "fit", None)  # would raise if it were called
    assert retrain(project) == outcome
    params_with(margin_points=0.5, replay_share=0.25)
    with pytest.raises(TypeError):
        retrain(project)


def test_a_dropped_candidate_leaves_the_retrained_model_before_it(project: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    retrain(project)
    kept = model_revision(retrained("kd"))
    params_with(margin_points=0.5)
    monkeypatch.setattr(learn, "answers", worse)
    assert retrain(project)["verdict"] == "kept"
    assert model_revision(retrained("kd")) == kept


def test_nothing_new_trains_nothing(project: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "fit", None)
    heard = (Path("data/curriculum/train/1.parquet"), *project.train)
    outcome = retrain(Job("kd", project.start, heard, project.validation, project.lineage))
    assert outcome["verdict"] == "nothing new" and not retrained("kd").exists()


def test_a_continued_run_is_a_share_of_the_method_own(project: Job) -> None:
    own = run_params(training_params(), "kd")
    short = shortened(own, 0.2, 0.5)
    assert (short.steps, short.curriculum.schedule, short.learning_rate) == (2, "uniform", own.learning_rate / 2)
    assert shortened(own, 0.01, 1.0).steps == 1
