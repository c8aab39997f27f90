"""The commands of the guides are run as they stand there, in a project of the smallest numbers (tests/dag), where the machine allows it.

`make test` runs what needs no build; `make soak` all of them, each guide in a copy of a build.
"""

import os
import re
import shutil
from pathlib import Path

import guide_commands as guides
import numpy as np
import pytest
import soundfile as sf

from tests.dag.conftest import Project, copy_project

PAGES = sorted((guides.ROOT / "docs/guides").glob("*.md"))
RATE = 16_000
DINPROOF = 'dinproof() { python -m flows.command "$@"; }\n'  # the same command, of this copy of the code


def write_recordings(root: Path) -> None:
    """The example of docs/guides/your-corpora.md: ten speakers with three recordings each, one without its text, and four kinds of noise."""
    rng = np.random.default_rng(1)
    for number in range(30):
        path = root / f"speech/talks/{'abcdefghij'[number // 3]}/{number:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, rng.normal(0, 0.1, RATE // 2), RATE)
        if number:
            path.with_suffix(".txt").write_text(("yes", "not now", "come in please")[number % 3])
    for kind in ("drill", "fan", "rain", "traffic"):
        path = root / f"noise/site/{kind}/a.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, rng.normal(0, 0.05, 24 * RATE), RATE)


def run_blocks(page: Path, project: Project, corpora: Path, *marks: str) -> str:
    """Run a guide's blocks with these marks, in order, in a shell that stops at the first failure; returns what they print."""
    said = []
    for block in guides.blocks(page):
        if block.run in marks:
            text = DINPROOF + block.text.replace("<corpora>", str(corpora))
            done = project.run("bash", "-euo", "pipefail", "-c", text, seconds=1500)
            said.append(done.stdout + done.stderr)
    return "\n".join(said)


def test_the_guide_to_your_own_corpora_up_to_the_build(tmp_path: Path) -> None:
    project = Project(copy_project(tmp_path / "project"), server=False)
    write_recordings(tmp_path / "corpora")
    said = run_blocks(guides.ROOT / "docs/guides/your-corpora.md", project, tmp_path / "corpora", "run")
    assert f"profile mine, corpora {tmp_path / 'corpora'}" in said and "all parameters are in order" in said
    assert re.search(r"no_label.*\n?.*a/000\.wav", said), "the recording without a text is named"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("make", "setup", "PYTHON=false"), "is not Python 3.11 or 3.12. Install one, or pass PYTHON=<interpreter>"),
        (("python", "-m", "tasks.common.params", "--profile", "recorded"), "needs your recordings"),
    ],
)
def test_what_a_mistake_says_is_what_the_page_on_trouble_explains(command: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = Project(copy_project(tmp_path / "project"), server=False).run(*command, check=False)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    page = (guides.ROOT / "docs/guides/troubleshooting.md").read_text(encoding="utf-8")
    assert any(message in heading for heading in re.findall(r"^### (.+)$", page, re.M))


@pytest.fixture(scope="module")
def built_for_guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as it is after `make curriculum`, its environment that of these tests."""
    project = Project(copy_project(tmp_path_factory.mktemp("guides") / "built"), server=False)
    project.run("python", "-m", "flows.build_curriculum", seconds=3000)
    return project.folder


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.run for block in guides.blocks(page))], ids=lambda page: page.stem)
def test_the_commands_of_a_guide_run(page: Path, built_for_guides: Path, tmp_path: Path) -> None:
    shutil.copytree(built_for_guides, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project", server=False)
    # `make` finds an environment that is newer than what it is made from, and so makes none.
    (project.folder / ".venv").symlink_to(guides.ROOT / ".venv")
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(project.folder / name, (0, 0))
    write_recordings(tmp_path / "corpora")
    said = run_blocks(page, project, tmp_path / "corpora", "run", "run in a build")
    blocks = sum(bool(block.run) for block in guides.blocks(page))
    print(f"{page.stem}: {blocks} blocks, {sum(len(list(guides.commands(block.text))) for block in guides.blocks(page) if block.run)} commands run")
    assert said and (page.stem != "first-build" or "evaluate: done" in said)
