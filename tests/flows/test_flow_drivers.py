"""The two drivers on a small graph of real stages: same lock file, nothing to do after one another, errors in one line."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL

ROOT = Path(__file__).resolve().parents[2]

TOY = {
    "toy/__init__.py": "",
    "toy/letters/__init__.py": "",
    "toy/letters/__main__.py": """
        from tasks.common.cli import main
        from toy.letters.stage import run
        main("letters", run)
    """,
    "toy/letters/stage.py": """
        from pathlib import Path
        from tasks.common.cli import Counts
        from tasks.common.errors import UserError
        from tasks.common.tables import write_text

        def shout(letter):
            if letter == "?":
                raise UserError("source.txt", "'?' is no letter", "Remove it")
            return letter.upper()

        def run(*, fan_out):
            letters = fan_out(shout, list(Path("source.txt").read_text().strip()), "letters")
            write_text(Path("out/letters.txt"), "".join(letters))
            return Counts(done={"letters": len(letters)})
    """,
    "toy/copy/__init__.py": "",
    "toy/copy/__main__.py": """
        from tasks.common.cli import main
        from toy.copy.stage import run
        main("copy", run)
    """,
    "toy/copy/stage.py": """
        from pathlib import Path
        from tasks.common.cli import Counts
        from tasks.common.tables import write_text

        def run(name):
            write_text(Path(f"out/{name}.txt"), name + Path("out/letters.txt").read_text())
            return Counts(done={"copies": 1})
    """,
    "dvc.yaml": """
        stages:
          letters:
            cmd: python -m toy.letters
            deps: [source.txt, toy/letters]
            outs: [out/letters.txt: {persist: true}]
          copy:
            foreach: [left, right]
            do:
              cmd: python -m toy.copy ${item}
              deps: [out/letters.txt, toy/copy]
              outs: ["out/${item}.txt"]
    """,
    "params.yaml": "profile: tiny\ncorpora: .\n",
    "profiles/tiny.yaml": "{}\n",
    "source.txt": "abc\n",
    ".dvcignore": "__pycache__\n",
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, text in TOY.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "dvc", "init", "-q")
    return tmp_path


def environment() -> dict[str, str]:
    return os.environ | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value() or ""),  # the session's server, where a test asked for it
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:.",
        "WORKERS": "2",
    }


def shell(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=240)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


FLOW = "from flows.build_curriculum import build_curriculum; s = build_curriculum(return_state=True); print('STATE', s.type.value, s.message)"


def test_both_drivers_write_the_same_lock_and_leave_nothing_to_do(toy: Path, prefect_api: None) -> None:
    assert "STATE COMPLETED 3 of 3" in shell(toy, sys.executable, "-c", FLOW).stdout
    by_flow = yaml.safe_load((toy / "dvc.lock").read_text())
    assert (toy / "out/left.txt").read_text() == "leftABC"
    assert "up to date" in shell(toy, "dvc", "status").stdout
    assert "Data and pipelines are up to date" in shell(toy, "dvc", "repro").stdout

    shell(toy, "rm", "-rf", "out", "dvc.lock", ".dvc/cache", ".dvc/tmp")
    shell(toy, "dvc", "repro", "-q")
    assert yaml.safe_load((toy / "dvc.lock").read_text()) == by_flow
    assert "STATE COMPLETED 0 of 3" in shell(toy, sys.executable, "-c", FLOW).stdout

    (toy / "source.txt").write_text("abd\n")
    assert "STATE COMPLETED 3 of 3" in shell(toy, sys.executable, "-c", FLOW).stdout
    (toy / "source.txt").write_text("abc\n")
    restored = shell(toy, sys.executable, "-c", FLOW).stdout
    assert "STATE COMPLETED 1 of 3" in restored, "outputs that do not persist come back from the run cache"
    assert (toy / "out/right.txt").read_text() == "rightABC"


def test_a_users_mistake_in_a_worker_is_one_line_under_either_driver(toy: Path, prefect_api: None) -> None:
    (toy / "source.txt").write_text("a?c\n")
    flow = shell(toy, sys.executable, "-c", FLOW)
    assert "STATE FAILED source.txt: '?' is no letter. Remove it" in flow.stdout
    assert "Traceback" not in flow.stdout + flow.stderr
    dvc = shell(toy, "dvc", "repro", check=False)
    assert dvc.returncode != 0
    assert "error: source.txt: '?' is no letter. Remove it" in dvc.stderr
    assert "Traceback" not in dvc.stdout + dvc.stderr
    assert not (toy / "out/letters.txt").exists()


def test_a_killed_build_goes_on_where_it_stopped(toy: Path, prefect_api: None) -> None:
    shell(toy, "dvc", "repro", "-q", "letters")
    assert "STATE COMPLETED 2 of 3" in shell(toy, sys.executable, "-c", FLOW).stdout
