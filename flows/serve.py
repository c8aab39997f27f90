"""A Prefect server, the process work pools `cpu` and `gpu`, the deployments of prefect.yaml and a worker a pool, all on loopback.

A worker that dies is started again; a run whose process died is called crashed (flows.zombies).

    python -m flows.serve        # what `make serve` runs; Ctrl-C stops everything it started

Then, in another shell in this folder: prefect deployment run build-curriculum/local --watch
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from flows.runners import cards
from flows.server import LOG, answers, server, stop
from flows.zombies import crash_silent_runs
from tasks.common.cli import guarded
from tasks.common.errors import UserError

# A run takes the whole machine and this folder, so a pool has one at a time; a second machine may raise the limit of its pool by one.
POOLS = {"cpu": 1, "gpu": 1}
WATCH_S = 5.0  # between looks at the workers: one that was killed is back before anybody misses it


def _prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


def _pools() -> list[str]:
    """Pools this machine works for: the GPU's only where there is a GPU. A build there gives each of its GPU jobs a card of its own."""
    return [pool for pool in POOLS if pool != "gpu" or cards()]


def _worker(pool: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_prefect("worker", "start", "--pool", pool))


def _stop_all(workers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for worker in workers.values():
        stop(worker)


def _deploy() -> None:
    """Create the pools that are not there (a limit that somebody has raised stays) and the deployments of prefect.yaml."""
    with get_client(sync_client=True) as client:
        for name, limit in POOLS.items():
            pool = WorkPoolCreate(name=name, type="process", base_job_template=ProcessWorker.get_default_base_job_template(), concurrency_limit=limit)
            with contextlib.suppress(ObjectAlreadyExists):
                client.create_work_pool(pool)
    done = subprocess.run(_prefect("--no-prompt", "deploy", "--all"), capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise UserError("prefect.yaml", f"'prefect deploy --all' failed: {said}", "Correct it, then make serve")


def _main() -> None:
    url = str(PREFECT_API_URL.value() or "")
    if not url:
        raise UserError("PREFECT_API_URL", "is empty", "Unset it: prefect.toml names the address on loopback")
    home = Path.cwd()
    os.environ["DINPROOF_HOME"] = str(home)  # where prefect.yaml's pull step tells the worker to run
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as running:
        if answers(url):
            print(f"a Prefect server already answers at {url}: using it", flush=True)
        else:
            print(f"starting a Prefect server; it writes to {LOG}", flush=True)
            running.enter_context(server(url))
        _deploy()
        crash_silent_runs()
        workers = {pool: _worker(pool) for pool in _pools()}
        # Stopped first, while their server still answers: a worker says goodbye there.
        running.callback(_stop_all, workers)
        print(
            f"\nserving {url.removesuffix('/api')}\nin another shell, in {home.name}/:\n"
            "  source .venv/bin/activate\n  prefect deployment run build-curriculum/local --watch\n",
            flush=True,
        )
        if len(workers) < len(POOLS):
            print("no GPU here: runs of the pool gpu wait for a worker on a machine that has one\n", flush=True)
        while True:
            time.sleep(WATCH_S)
            for pool in [pool for pool, worker in workers.items() if worker.poll() is not None]:
                print(f"the worker of pool {pool} ended with status {workers[pool].returncode}: starting another", flush=True)
                workers[pool] = _worker(pool)


if __name__ == "__main__":
    guarded(_main)
