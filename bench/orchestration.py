"""What orchestration costs: the wall time of a build by the Prefect flow beyond that of its stages as plain functions.

The data stages of dvc.yaml (synthesis to mix) on a copy of the project, in two sizes, each built twice with the same workers: by
`python -m flows.build_curriculum` (its server, DVC's hashing and recording, task runs, interpreter and imports: all of it), and by
calling the stages in order in one process with a process pool. The difference is orchestration. It has a part that is there once
and a part that grows with the build; the line through both sizes gives its share of a build whose stages take ten minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from bench.table import Row
from tests.dag.conftest import copy_project

STAGES = ("synthesis", "catalog", "rooms", "items", "mix")
SIZES = (400, 6000)  # mixtures a noise clip; the nano project has sixteen of them
TEN_MINUTES = 600.0
PLAIN = """
import inspect, sys, time
from importlib import import_module
from tasks.common.fanout import in_workers

def main():
    runs = [import_module(f"tasks.{name}.stage").run for name in sys.argv[1:]]
    start = time.perf_counter()
    for run in runs:
        run(fan_out=in_workers) if "fan_out" in inspect.signature(run).parameters else run()
    print(time.perf_counter() - start)

if __name__ == "__main__":
    main()
"""


def project(folder: Path, per_noise: int) -> None:
    """The data stages of the project, with so many mixtures a noise clip."""
    copy_project(folder)
    graph = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: graph["stages"][name] for name in STAGES}}), encoding="utf-8")
    profile = yaml.safe_load((folder / "profiles/tiny.yaml").read_text(encoding="utf-8"))
    profile["mix"] = {"per_noise": dict.fromkeys(("train", "validation", "test"), per_noise)}
    (folder / "profiles/tiny.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")


def build(per_noise: int, *command: str) -> tuple[float, str, int]:
    """Wall seconds of a command in a fresh project, what it printed, and the mixtures it made."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project(folder, per_noise)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "PYTHONPATH": temporary, "PREFECT_API_URL": "", "PREFECT_LOGGING_LEVEL": "WARNING"}
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
        report = folder / "reports/build.json"
        return seconds, done.stdout, json.loads(report.read_text(encoding="utf-8"))["mix"]["done"]["mixtures"] if report.exists() else 0


def rows() -> list[Row]:
    """`orchestration_share`."""
    points = []
    for per_noise in SIZES:
        stages = float(build(per_noise, "plain.py", *STAGES)[1])
        whole, _, mixtures = build(per_noise, "-m", "flows.build_curriculum")
        points.append((stages, whole - stages, mixtures))
    (short, little, _), (long, much, mixtures) = points
    growth = max(0.0, (much - little) / (long - short))
    extra = much + growth * (TEN_MINUTES - long)
    note = f"of ten minutes; measured {little:.1f} s beside {short:.0f} s of stages and {much:.1f} s beside {long:.0f} s ({mixtures:,} mixtures)"
    return [Row("orchestration_share", "share", round(extra / (TEN_MINUTES + extra), 4), note=note)]
