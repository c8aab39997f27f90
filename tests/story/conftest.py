"""The world of the story: the smallest whole project on corpora of its own, built once undisturbed and once served."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tasks.common.audio import RATE
from tasks.common.seeds import rng_of
from tests.dag.conftest import Project, copy_project
from tests.story.served import Served

YARD = {
    "corpus": "yard",
    "kind": "noise",
    "layout": "folder",
    "root": "noise/yard",
    "pattern": r"(?P<noise_type>[a-z]+)_\d+\.wav",
    "segment_s": 2.0,
    "split": {"field": "position", "validation": 0.2, "test": 0.2},
    "duration_s": [1.0, 60.0],
    "licence": "CC0-1.0",
    "source": "generated",
    "citation": "generated",
}


def record(corpora: Path, noise_type: str, number: int) -> Path:
    """Put ten seconds of a noise into the corpus."""
    rng = rng_of("yard", noise_type, number)
    wave = 0.1 * rng.standard_normal(10 * RATE)
    if noise_type == "drone":
        wave = 0.02 * wave / 0.1 + 0.2 * np.sin(2 * np.pi * (90 + 10 * number) * np.arange(10 * RATE) / RATE)
    path = corpora / f"noise/yard/{noise_type}_{number}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.astype(np.float32), RATE)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone with corpora beside it: the words of the synthesis, and a folder of noise."""
    folder = copy_project(tmp_path_factory.mktemp("world"))
    Project(folder, server=False).run("python", "-m", "tasks.synthesis")
    shutil.move(folder / "data/corpora/words", folder / "corpora/words")
    shutil.rmtree(folder / "data")
    for noise_type in ("drone", "hiss"):
        for number in (1, 2):
            record(folder / "corpora", noise_type, number)
    (folder / "catalogs/noise/yard.yaml").write_text(yaml.safe_dump(YARD))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    # Three steps of training decide nothing: any candidate is promoted.
    params |= {"corpora": "corpora", "catalog": params["catalog"] | {"noise": ["yard"]}, "retrain": params["retrain"] | {"margin_points": 100.0}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same clone, built from the shell in one go."""
    folder = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(world, folder)
    project = Project(folder, server=False)
    project.run("python", "-m", "flows.build_curriculum", seconds=3000)
    return project


@pytest.fixture(scope="module")
def served(world: Path, undisturbed: Project) -> Iterator[Served]:
    """The clone with a server and a worker; `undisturbed` is copied before anything runs here."""
    served = Served(world)
    try:
        served.start()
        yield served
    finally:
        served.stop()
