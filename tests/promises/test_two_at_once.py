"""Two at once in one folder: the second waits and says for whom, or refuses in a line that names the first; the files are those of one."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL

from tasks.common.cli import stage_alone
from tests.incremental import small_build
from tests.promises.killing import ROOT, command_of, leftovers, plain, small_world, tree

# A stage that runs until it is let go.
TOY = {
    "toy/__init__.py": "",
    "toy/slow/__init__.py": "",
    "toy/slow/__main__.py": """
        from tasks.common.cli import main
        from toy.slow.stage import run
        main("slow", run)
    """,
    "toy/slow/stage.py": """
        import time
        from pathlib import Path
        from tasks.common.cli import Counts
        from tasks.common.tables import write_text

        def run():
            with Path("started").open("a") as started:
                started.write("x")
            while not Path("go").exists():
                time.sleep(0.05)
            write_text(Path("out.txt"), Path("source.txt").read_text().upper())
            return Counts(done={"files": 1})
    """,
    "dvc.yaml": "stages: {slow: {cmd: python -m toy.slow, deps: [source.txt, toy/slow], outs: [out.txt]}}\n",
    "params.yaml": "profile: tiny\ncorpora: .\n",
    "profiles/tiny.yaml": "{}\n",
    "source.txt": "abc\n",
    ".dvcignore": "__pycache__\n",
}
HOLD = """
from flows.graph import commit, held, restore
from tasks.common.cli import stage_alone
from toy.slow.stage import run
with held("slow"), stage_alone("slow"):
    restore("slow")
    run()
    commit("slow")
"""
FLOW = "from flows.build_curriculum import build_curriculum; s = build_curriculum(return_state=True); print('STATE', s.type.value, s.message)"
STALE = "from flows.graph import stale_stages; print('STALE', sorted(stale_stages()))"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, text in TOY.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    for command in (("git", "init", "-q"), ("dvc", "init", "-q")):
        subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    return tmp_path


def environment() -> dict[str, str]:
    return plain() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:.",
        "PREFECT_API_URL": str(PREFECT_API_URL.value() or ""),
    }


@contextlib.contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path.name} did not come within {seconds} s"
        time.sleep(0.05)


def said(process: subprocess.Popen[str], words: str) -> list[str]:
    """Lines of its errors up to the one that holds these words."""
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError((words, lines))


def test_two_commands_of_one_stage_make_what_one_makes(tmp_path: Path) -> None:
    folder = small_world(tmp_path / "twice")
    with contextlib.chdir(folder):
        small_build.rebuild("catalog", "rooms", "items", "mix")
    expected = tree(folder)
    shutil.rmtree(folder / "data/mixtures")
    with contextlib.chdir(folder), stage_alone("mix"):  # neither is through before the other has begun
        both = [subprocess.Popen(command_of("mix", "stage"), env=plain(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in both:
            said(process, "stage mix already runs in this folder: waiting for it")
    errors = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("mix: done {'mixtures': 0" in text for text in errors) == 1, "the second finds done what the first has done"
    assert tree(folder) == expected
    assert leftovers(folder) == []


def test_dvc_repro_during_a_build_refuses_and_names_it(toy: Path) -> None:
    with running(toy, sys.executable, "-c", HOLD) as build:
        until(toy / "started", build)
        dvc = subprocess.run(("dvc", "repro"), cwd=toy, env=environment(), capture_output=True, text=True, timeout=120)
        assert dvc.returncode != 0
        assert "out.txt' is busy" in dvc.stderr and f"(PID {build.pid})" in dvc.stderr
        assert "Traceback" not in dvc.stderr
        (toy / "go").touch()
        assert build.wait(timeout=120) == 0
    assert (toy / "started").read_text() == "x"
    dvc = subprocess.run(("dvc", "repro"), cwd=toy, env=environment(), capture_output=True, text=True, timeout=120)
    assert "Data and pipelines are up to date" in dvc.stdout
    assert (toy / "out.txt").read_text() == "ABC\n"


def test_a_build_during_dvc_repro_waits_for_it_and_finds_it_done(toy: Path) -> None:
    with running(toy, "dvc", "repro", "-q") as dvc:
        until(toy / "started", dvc)
        with running(toy, sys.executable, "-c", STALE) as build:
            said(build, "a dvc command works in this folder: waiting for it")
            (toy / "go").touch()
            assert dvc.wait(timeout=120) == 0
            assert build.communicate(timeout=120)[0] == "STALE []\n"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_flow_and_dvc_repro_meet(toy: Path, prefect_api: None) -> None:
    """The same two meetings with the whole flow, and two flows at once."""
    with running(toy, sys.executable, "-c", FLOW) as flow:
        until(toy / "started", flow)
        dvc = subprocess.run(("dvc", "repro"), cwd=toy, env=environment(), capture_output=True, text=True, timeout=120)
        assert dvc.returncode != 0 and f"(PID {flow.pid})" in dvc.stderr and "Traceback" not in dvc.stderr
        with running(toy, sys.executable, "-c", FLOW) as second:
            said(second, "another build runs in this folder: waiting for it")
            (toy / "go").touch()
            assert "STATE COMPLETED 1 of 1" in flow.communicate(timeout=240)[0]
            assert "STATE COMPLETED 0 of 1" in second.communicate(timeout=240)[0]
    (toy / "go").unlink()
    (toy / "started").unlink()
    (toy / "source.txt").write_text("abd\n")
    with running(toy, "dvc", "repro", "-q") as dvc_first:
        until(toy / "started", dvc_first)
        with running(toy, sys.executable, "-c", FLOW) as flow:
            said(flow, "a dvc command works in this folder: waiting for it")
            (toy / "go").touch()
            assert dvc_first.wait(timeout=120) == 0
            assert "STATE COMPLETED 0 of 1" in flow.communicate(timeout=240)[0]
    assert (toy / "started").read_text() == "x"
    assert len(yaml.safe_load((toy / "dvc.lock").read_text())["stages"]) == 1
