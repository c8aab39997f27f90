"""Lost, killed and cancelled runs on a real server, on a graph of stages that sleep: nothing hangs, nothing is left, the result is the same."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.flows.test_flow_drivers import ROOT, TOY
from tests.story.disturb import Told, disturbed
from tests.story.served import Served

pytestmark = [pytest.mark.soak, pytest.mark.timeout(5400)]

SLOW = {
    "toy/letters/stage.py": """
        import time
        from pathlib import Path
        from tasks.common.cli import Counts
        from tasks.common.tables import write_text

        def shout(letter):
            time.sleep(0.5)
            return letter.upper()

        def run(*, fan_out):
            letters = fan_out(shout, list(Path("source.txt").read_text().strip()), "letters")
            write_text(Path("out/letters.txt"), "".join(letters))
            return Counts(done={"letters": len(letters)})
    """,
    "toy/copy/stage.py": """
        import time
        from pathlib import Path
        from tasks.common.cli import Counts
        from tasks.common.tables import write_text

        def run(name):
            time.sleep(20)
            write_text(Path(f"out/{name}.txt"), name + Path("out/letters.txt").read_text())
            return Counts(done={"copies": 1})
    """,
    "source.txt": "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop\n",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("toy")
    for name, text in (TOY | SLOW).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    for name in ("flows", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".dvcignore").write_text("__pycache__\n.prefect\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    served = Served(folder)
    try:
        served.start()
        yield served
    finally:
        served.stop()


@pytest.fixture(scope="module")
def built(served: Served) -> Told:
    return disturbed(served, killed="letters", cut="letters", cancelled="copy@left")


def test_the_run_of_a_power_cut_is_called_crashed_and_the_queue_moves_on(built: Told) -> None:
    assert built.states["cut"]["type"] == "CRASHED" and "no heartbeat" in built.states["cut"]["message"]
    assert built.states["cancelled"]["type"] == "CANCELLED"
    assert built.states["whole"]["type"] == "COMPLETED"


def test_what_was_finished_is_kept_and_what_was_not_is_stale(built: Told, served: Served) -> None:
    assert built.stale == {"copy@left", "copy@right"}
    assert served.ran(built.runs["whole"]) == {"copy@left", "copy@right"}
    assert "up to date" in served.dvc("status")


def test_the_result_is_the_undisturbed_one(built: Told, served: Served, tmp_path: Path) -> None:
    disturbed_lock = yaml.safe_load((served.folder / "dvc.lock").read_text())
    (served.folder / "dvc.lock").unlink()
    shutil.rmtree(served.folder / "out")
    served.dvc("repro", "-q", "--no-run-cache")
    assert yaml.safe_load((served.folder / "dvc.lock").read_text()) == disturbed_lock
    assert (served.folder / "out/left.txt").read_text() == "left" + SLOW["source.txt"].strip().upper()


def test_a_worker_that_dies_is_replaced_and_the_build_ends(built: Told, served: Served) -> None:
    (served.folder / "source.txt").write_text("abc\n")
    run = served.run("build-curriculum/local")
    served.until(lambda: served.running(run, "copy@right"), "a piece", 900)
    (worker,) = [process for process in served.processes() if "worker start" in " ".join(process.cmdline())]
    worker.kill()
    state = served.ended(run, 900)
    print(f"the run of a killed worker: {state['type']}, {state['message']}")
    assert served.ended(served.run("build-curriculum/local"), 900)["type"] == "COMPLETED"
    assert "starting another" in served.log.read_text()
    assert (served.folder / "out/right.txt").read_text() == "rightABC" and "up to date" in served.dvc("status")
