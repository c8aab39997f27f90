"""What a user gets for a mistake: one line that says what, where and what to do, and a non-zero exit. Never a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.dag.conftest import Project, copy_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(copy_project(tmp_path_factory.mktemp("mistakes")), workers=1, server=False)


def _edit(path: Path, change: Callable[[dict], None]) -> str:
    before = path.read_text()
    value = yaml.safe_load(before)
    change(value)
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tasks.common.params", "--profile", "huge"), "error: PROFILE=huge: unknown profile. Choose one of:"),
        (("tasks.common.params", "--profile", "recorded"), "error: PROFILE=recorded: needs your recordings. Add CORPORA="),
        (("tasks.common.params", "--profile", "recorded", "--corpora", "nowhere"), "error: CORPORA=nowhere: no such folder."),
    ],
)
def test_a_wrong_switch(project: Project, words: tuple[str, ...], says: str) -> None:
    done = project.run("python", "-m", *words, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda value: value.update(profile="huge"), "unknown profile 'huge'. Choose one of: gpu, recorded, tiny"),
        (lambda value: value["items"].update(optoins=3), "items: unknown key 'optoins'. Did you mean 'options'?"),
        (lambda value: value["training"]["caad"].update(alpha=-1), "training.caad (over training.common): 'alpha' is -1: "),
        (lambda value: value.update(evalute=value.pop("evaluate")), "unknown section 'evalute'. Did you mean 'evaluate'?"),
        (lambda value: value.update(corpora="gone"), "corpora: gone: no such folder."),
    ],
)
def test_a_wrong_parameter_stops_a_build_before_it_starts(project: Project, change: Callable[[dict], None], says: str) -> None:
    before = _edit(project.folder / "params.yaml", change)
    try:
        done = project.build(check=False)
        assert done.returncode == 2
        assert says in done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    finally:
        (project.folder / "params.yaml").write_text(before)


def test_a_profile_without_a_section_is_told_what_to_add(project: Project) -> None:
    path = project.folder / "profiles/tiny.yaml"
    before = _edit(path, lambda value: value.pop("rooms"))
    try:
        done = project.build(check=False)
        says = "error: profiles/tiny.yaml: 'rooms' is missing, and dvc.yaml names it. Add it; for a section left as it is: rooms: {}\n"
        assert (done.returncode, done.stderr) == (2, says)
    finally:
        path.write_text(before)


def test_a_misspelt_catalog_key_names_the_file_and_the_nearest_key(project: Project) -> None:
    project.run("python", "-m", "tasks.synthesis")
    path = project.folder / "catalogs/noise/noise.yaml"
    before = _edit(path, lambda value: value.update(license=value.pop("licence")))
    try:
        done = project.run("python", "-m", "tasks.catalog", check=False)
        assert done.returncode == 2
        assert "catalogs/noise/noise.yaml: unknown key 'license'. Did you mean 'licence'?" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        path.write_text(before)
