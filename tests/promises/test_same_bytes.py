"""The same bytes everywhere: any number of workers, order of files, working folder, time zone, locale, hash seed, umask, runner and driver."""

import json
import locale
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.dag.conftest import Project, copy_project
from tests.promises.golden import GOLDEN, contents, files, other_than

ROOT = Path(__file__).resolve().parents[2]
DISORDER = Path(__file__).with_name("disorder")


def _locale() -> str:
    """One whose letters change their case otherwise than in English, where it is installed."""
    before = locale.setlocale(locale.LC_ALL)
    for name in ("tr_TR.UTF-8", "de_DE.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_ALL, before)
        return name
    return "C"


THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "2")  # as a cluster's shell may set them
# Workers, runner, driver, file order, umask and the environment; all of a row change at once, and only a difference is worth taking apart.
VARIATIONS = {
    "dvc, 1 worker": ({"WORKERS": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}, "dvc", False, 0o022),
    "flow, 4 workers": ({"WORKERS": "4", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "random", **THREADS}, "process", True, 0o077),
    "dask, 2 workers": ({"WORKERS": "2", "TZ": "America/St_Johns", "LC_ALL": _locale(), "PYTHONHASHSEED": "1"}, "dask", True, 0o002),
    "ray, 2 workers": ({"WORKERS": "2", "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}, "ray", True, 0o022),
}
LONG = "ein Ordner mit Leerzeichen und Größe/und noch einer darunter"  # a working folder's name


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Files that are not the same in two builds, or in one alone."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def test_a_small_build_elsewhere_in_another_order_is_the_same_byte_for_byte(small: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / LONG
    elsewhere.mkdir(parents=True)
    env = os.environ | {"PYTHONPATH": f"{DISORDER}:{ROOT}", "TZ": "Asia/Kathmandu", "LC_ALL": _locale(), "PYTHONHASHSEED": "4711"} | THREADS
    command = [sys.executable, "-m", "tests.promises.golden", str(elsewhere)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, umask=0o077, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    here, there = files(small), json.loads(done.stdout)["files"]
    assert len(here) > 30 and differing(here, there) == []


def test_the_small_build_has_the_bits_that_are_checked_in(small: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    if other := other_than(golden):
        pytest.skip(f"golden.json holds where it was written: {other}")
    changed = differing(contents(small), golden["contents"])
    assert changed == [], f"if they are meant to change: python -m tests.promises.golden (written on {golden['processor']['name']})"


@pytest.mark.soak
@pytest.mark.timeout(14400)
def test_whole_builds_are_the_same_byte_for_byte(tmp_path: Path, prefect_api: None) -> None:
    """The whole DAG by two drivers and three runners; everything else changes along, so a difference here is to be taken apart by hand."""
    found: dict[str, dict[str, str]] = {}
    source = tmp_path / "source"
    source.mkdir()
    copy_project(source)
    for number, (name, (environment, runner, shuffled, umask)) in enumerate(VARIATIONS.items()):
        if runner in ("dask", "ray") and find_spec(f"prefect_{runner}") is None:
            print(f"{name}: left out, not installed")
            continue
        folder = tmp_path / str(number) / (LONG if number % 2 else "w")
        shutil.copytree(source, folder)
        project = Project(folder, workers=int(environment["WORKERS"]))
        project.environment |= environment | {"RUNNER": runner if runner != "dvc" else "process"}
        if shuffled:
            project.environment["PYTHONPATH"] = f"{DISORDER}:{project.environment['PYTHONPATH']}"
        before = os.umask(umask)
        try:
            if runner == "dvc":
                project.run("dvc", "repro", "-q", seconds=3600)
            else:
                project.run("python", "-m", "flows.build_curriculum", seconds=3600)
        finally:
            os.umask(before)
        found[name] = files(project.folder) | {"dvc.lock": json.dumps(project.lock(), sort_keys=True)}
        first = next(iter(found))
        print(f"{name}: {len(found[name])} files, {len(differing(found[first], found[name]))} otherwise than by {first}", flush=True)
    first, *others = found
    assert others and all(len(one) > 40 for one in found.values())
    assert {name: differing(found[first], found[name]) for name in others} == {name: [] for name in others}
