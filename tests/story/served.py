"""A project served for real: `python -m flows.serve` on a free port, asked and watched through Prefect's REST API."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

Row = dict[str, Any]
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class Served:
    """A project in `folder` with a server, a worker and a database of its own."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.folder, self.log, self.url = folder, folder / "serve.log", f"http://127.0.0.1:{port}/api"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_WORKER_QUERY_SECONDS": "2",  # a worker looks for work every ten seconds otherwise
            "OMP_NUM_THREADS": "1",
            "WORKERS": str(workers),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 900) -> None:
        """Serve; returns once the deployments are there and the worker was started."""
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.serve"], cwd=self.folder, env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )
        self.until(lambda: "\nserving " in self.log.read_text(), "serving", seconds)

    def stop(self) -> None:
        """As Ctrl-C does; what does not end by that is killed."""
        try:
            if self.process is not None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(timeout=120)
        finally:
            self.process = None
            for process in self.processes():
                process.kill()

    def power_cut(self) -> None:
        """SIGKILL for the server, the worker and the processes of flow runs, but not for what those started."""
        assert self.process is not None
        ours = [self.process.pid, *(found.pid for found in self.processes() if "prefect" in " ".join(found.cmdline()))]
        for pid in ours:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def processes(self, ended: tuple[str, ...] = ()) -> list[psutil.Process]:
        """Processes that work in the folder, whoever their parent is by now, without those whose command line holds one of `ended`."""
        found = []
        for process in psutil.process_iter(["cwd", "cmdline", "status"]):
            inside = process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(self.folder)
            words = " ".join(process.info["cmdline"] or ())
            if inside and process.info["status"] != psutil.STATUS_ZOMBIE and not any(part in words for part in ended):
                found.append(process)
        return found

    def workers_of_shards(self) -> list[psutil.Process]:
        """Worker processes of the stages that run, of shards and of pieces."""
        return [process for process in self.processes() if "spawn_main" in " ".join(process.cmdline())]

    def until(self, said: Callable[[], Any], what: str, seconds: float) -> Any:
        """Wait until `said` gives something; fails with what the server's side wrote."""
        deadline = time.monotonic() + seconds
        while not (found := said()):
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{self.log.read_text()[-6000:]}"
            assert self.process is None or self.process.poll() is None, f"serve ended while waiting: {what}\n{self.log.read_text()[-6000:]}"
            time.sleep(0.2)
        return found

    def prefect(self, *words: str) -> str:
        """Prefect's command line in the folder; its output."""
        command = [sys.executable, "-m", "prefect", *words]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *words: str) -> str:
        """DVC's command line in the folder; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def post(self, path: str, **body: Any) -> Any:
        """POST of Prefect's REST API."""
        answer = httpx.post(f"{self.url}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, deployment: str, *parameters: str) -> str:
        """`prefect deployment run`; the id of the flow run."""
        said = self.prefect("deployment", "run", deployment, *(word for one in parameters for word in ("--param", one)))
        return str(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)[0])

    def state(self, run: str) -> Row:
        """The state of a flow run: `type`, `name`, `message`."""
        answer = httpx.get(f"{self.url}/flow_runs/{run}", timeout=60)
        answer.raise_for_status()
        state: Row = answer.json()["state"]
        return state

    def ended(self, run: str, seconds: float = 1800) -> Row:
        """The state in which a flow run ended."""
        return self.until(lambda: (state := self.state(run))["type"] in FINAL and state, f"the end of run {run}", seconds)  # type: ignore[no-any-return]

    def stages(self, run: str) -> list[Row]:
        """The subflows of a flow run: a stage of shards each."""
        found: list[Row] = self.post("flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}}, sort="START_TIME_ASC")
        return found

    def task_runs(self, *runs: str) -> list[Row]:
        """The task runs of flow runs: pieces of a build, shards of a stage."""
        found: list[Row] = self.post("task_runs/filter", flow_runs={"id": {"any_": list(runs)}})
        return found

    def ran(self, run: str) -> set[str]:
        """Every stage that a flow run ran, by its subflows and task runs."""
        return {row["name"] for row in (*self.stages(run), *self.task_runs(run))}

    def running(self, run: str, stage: str) -> bool:
        """Whether a stage runs now and its processes have begun; fails where the run ended before."""
        state = self.state(run)
        assert state["type"] not in FINAL, state
        states = [row["state_type"] for row in (*self.stages(run), *self.task_runs(run)) if row["name"] == stage]
        return "RUNNING" in states and bool(self.workers_of_shards())

    def lines(self, *runs: str) -> list[str]:
        """The log of flow runs, as the server holds it."""
        return [row["message"] for row in self.post("logs/filter", logs={"flow_run_id": {"any_": list(runs)}}, sort="TIMESTAMP_ASC", limit=200)]

    def artifacts(self, run: str) -> dict[str, Row]:
        """The artifacts of a flow run, by key."""
        return {row["key"]: row for row in self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})}

    def runs_of(self, flow: str) -> list[Row]:
        """All runs of a flow, the oldest first."""
        found: list[Row] = self.post("flow_runs/filter", flows={"name": {"any_": [flow]}}, sort="EXPECTED_START_TIME_ASC")
        return found
