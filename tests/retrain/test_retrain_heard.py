"""What a model has heard, from DVC's lock and cache, in a small repository of real stages."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.graph import Stage
from flows.retraining.heard import job_of, last_model
from tasks.common.errors import UserError

STAGE = Stage("train@kd", "tasks.training", ("kd",), frozenset())
COPY = """
import shutil, sys
from pathlib import Path
Path(sys.argv[2]).mkdir(parents=True)
for file in Path(sys.argv[1]).rglob("*"):
    if file.is_file():
        to = Path(sys.argv[2]) / file.relative_to(sys.argv[1])
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
"""


def dvc(*words: str) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built repository: a curriculum, a backbone and a method, each copied from a folder of `source`."""
    root = tmp_path_factory.mktemp("repository")
    for name, text in (("curriculum/train/1.parquet", "a"), ("curriculum/heldout/validation.parquet", "b"), ("backbone/config.json", "c")):
        (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "source" / name).write_text(text)
    (root / "carry.py").write_text(COPY)
    graph = {
        "curriculum": {"cmd": "python carry.py source/curriculum data/curriculum", "deps": ["source/curriculum"], "outs": ["data/curriculum"]},
        "backbone": {"cmd": "python carry.py source/backbone models/backbone", "deps": ["source/backbone"], "outs": ["models/backbone"]},
        "train": {
            "foreach": ["kd"],
            "do": {
                "cmd": "python carry.py models/backbone models/${item}",
                "deps": ["data/curriculum", "models/backbone"],
                "outs": ["models/${item}"],
            },
        },
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}))
    with contextlib.chdir(root):
        subprocess.run(["git", "init", "-q"], check=True)
        dvc("init", "-q")
        dvc("repro", "-q")
    return root


@pytest.fixture
def built(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(repository, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def promoted(built: Path, scratch: str, curricula: list[dict[str, str]], retrainings: list[dict[str, int]]) -> None:
    (built / "models/kd.retrained").mkdir(exist_ok=True)
    known = {"scratch": scratch, "curricula": curricula, "retrainings": retrainings}
    (built / "models/kd.retrained/lineage.yaml").write_text(yaml.safe_dump(known))


def test_after_the_corpora_changed_the_rows_heard_before_come_from_the_cache(built: Path) -> None:
    (built / "source/curriculum/train/1.parquet").write_text("changed")
    dvc("repro", "-q", "curriculum")
    job = job_of(last_model(STAGE))
    assert job.start == Path("models/kd") and [path.read_text() for path in job.train] == ["a"]
    assert [path.read_text() for path in job.validation] == ["b"]
    assert len(job.lineage["curricula"]) == 2 and set(job.lineage["lock"]) == {"curriculum", "backbone", "train@kd"}

    promoted(built, job.lineage["scratch"], job.lineage["curricula"], [{"first": 1}])
    again = job_of(last_model(STAGE))
    assert again.start == Path("models/kd.retrained") and [path.read_text() for path in again.train] == ["changed"]
    assert again.lineage["curricula"] == job.lineage["curricula"] and again.lineage["retrainings"] == [{"first": 1}]

    promoted(built, "another", [{"data/curriculum": "x.dir"}], [])
    assert last_model(STAGE).folder == Path("models/kd"), "it went on from another model than the one trained from scratch now"


def test_another_teacher_is_a_reason_to_train_from_scratch(built: Path) -> None:
    (built / "source/backbone/config.json").write_text("another")
    dvc("repro", "-q", "backbone")
    with pytest.raises(UserError, match="trained from another backbone"):
        job_of(last_model(STAGE))


def test_a_model_that_dvc_does_not_know_has_heard_what_nobody_knows(built: Path) -> None:
    (built / "models/kd/config.json").unlink()
    with pytest.raises(UserError, match="none to go on from"):
        last_model(STAGE)
    (built / "models/kd/config.json").write_text("mine")
    with pytest.raises(UserError, match="not the model that"):
        last_model(STAGE)


def test_an_emptied_cache_is_said(built: Path) -> None:
    last = last_model(STAGE)
    shutil.rmtree(built / ".dvc/cache/files")
    with pytest.raises(UserError, match="is gone"):
        job_of(last)
