"""What orchestration costs: the wall time of a build by the Prefect flow beyond that of its stages as plain functions.

    python -m bench.orchestration            # the share in a build of ten minutes, by comparison
    python -m bench.orchestration FOLDER     # builds FOLDER, a copy of the project that may be changed: its share outside of stages, and a no-op

Of FOLDER's own build, by Prefect's record on a server that is up, the time is counted in which no stage is at work: graph, hashes, recording,
artifacts and imports. What Prefect does inside a stage's time (its task runs, starting its workers) shows in the comparison alone.

The comparison: the data stages of dvc.yaml (synthesis to mix) on a copy of the project, in two sizes, each built twice with the same workers: by
`python -m flows.build_curriculum` (its server, DVC's hashing and recording, task runs, interpreter and imports: all of it), and by
calling the stages in order in one process with a process pool. The difference is orchestration. It has a part that is there once
and a part that grows with the build; the line through both sizes gives its share of a build whose stages take ten minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

from bench.table import Row, markdown
from flows.server import free_url, server
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


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of some spans of time runs."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def stage_spans(flow_name: str) -> tuple[list[tuple[float, float]], int]:
    """(start, end) of the stages of the newest run of a flow, from the server of PREFECT_API_URL, and how many task runs it and they had."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # Prefect may have read its settings before the address was known.
    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        named = FlowFilter(name=FlowFilterName(any_=[flow_name]))
        build = client.read_flow_runs(flow_filter=named, sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
        below = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[build.id])))
        runs = FlowRunFilter(id=FlowRunFilterId(any_=[build.id, *(run.id for run in below)]))
        tasks = client.read_task_runs(flow_run_filter=runs, limit=200)
        while len(page := client.read_task_runs(flow_run_filter=runs, limit=200, offset=len(tasks))):
            tasks += page
    subflows = {run.parent_task_run_id for run in below}
    own = [task for task in tasks if task.flow_run_id == build.id and task.id not in subflows]
    times = [(run.start_time, run.end_time) for run in below] + [(task.start_time, task.end_time) for task in own]
    return [(start.timestamp(), end.timestamp()) for start, end in times if start and end], len(tasks)


def in_folder(folder: Path) -> list[Row]:
    """`orchestration_outside_share`, of a folder's own build, and `orchestration_no_op_s`, with a server up."""
    os.chdir(folder)
    os.environ |= {"PREFECT_API_URL": free_url(), "PREFECT_LOGGING_LEVEL": "WARNING", "PYTHONPATH": str(Path.cwd())}
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found, took = [], list[float]()
    with server(os.environ["PREFECT_API_URL"]):
        for _ in range(2):
            stale = "up to date" not in subprocess.run(["dvc", "status"], stdout=subprocess.PIPE, text=True, check=True).stdout
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "flows.build_curriculum"], stdout=subprocess.DEVNULL, check=True)
            took.append(time.perf_counter() - start)
            if stale:
                spans, tasks = stage_spans("build-curriculum")
                share = 1 - covered(spans) / took[-1]
                note = f"{took[-1]:.0f} s, {took[-1] - covered(spans):.1f} s of them with no stage at work; {len(spans)} stages, {tasks} task runs"
                found.append(Row("orchestration_outside_share", "share", round(share, 4), note=note))
    return [*found, Row("orchestration_no_op_s", "s", round(took[-1], 1), note="wall, interpreter and imports included; a server is up")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.orchestration", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a copy of the project, which is built")
    asked = parser.parse_args()
    print(markdown(in_folder(asked.folder) if asked.folder else rows()))
