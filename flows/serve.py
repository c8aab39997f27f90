"""A Prefect server, a process work pool, the deployments of prefect.yaml and a worker, all on loopback.

    python -m flows.serve        # what `make serve` runs; Ctrl-C stops everything it started

Then, in another shell in this folder: prefect deployment run build-curriculum/local --watch
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from prefect.settings import PREFECT_API_URL

from tasks.common.cli import guarded
from tasks.common.errors import UserError

POOL = "local"
SERVER_LOG = Path(".prefect/server.log")


def _prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def _wait_for_server(url: str, server: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not _healthy(url):
        if server.poll() is not None:
            raise UserError(
                url,
                "the Prefect server stopped while starting",
                f"See {SERVER_LOG}; is the port taken? Then set api.url and server.api.port in prefect.toml",
            )
        if time.monotonic() > deadline:
            raise UserError(url, f"the Prefect server did not answer within {seconds:.0f} s", "Run make serve again")
        time.sleep(0.5)


def _deploy() -> None:
    for words in (
        ("work-pool", "create", POOL, "--type", "process", "--overwrite"),
        ("--no-prompt", "deploy", "--all"),
    ):
        done = subprocess.run(_prefect(*words), capture_output=True, text=True)
        if done.returncode != 0:
            raise UserError(
                "prefect.yaml", f"'prefect {' '.join(words)}' failed: {(done.stderr or done.stdout).strip()[-400:]}", "Correct it, then make serve"
            )


def _stop(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _main() -> None:
    url = str(PREFECT_API_URL.value() or "")
    if not url:
        raise UserError("PREFECT_API_URL", "is empty", "Unset it: prefect.toml names the address on loopback")
    home = Path.cwd()
    os.environ["DINPROOF_HOME"] = str(home)  # where prefect.yaml's pull step tells the worker to run
    (home / ".prefect").mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        if _healthy(url):
            print(f"a Prefect server already answers at {url}: using it")
        else:
            with SERVER_LOG.open("wb") as log:
                processes.append(subprocess.Popen(_prefect("server", "start"), stdout=log, stderr=subprocess.STDOUT))
            print(f"starting a Prefect server; it writes to {SERVER_LOG}", flush=True)
            _wait_for_server(url, processes[0])
        _deploy()
        processes.append(subprocess.Popen(_prefect("worker", "start", "--pool", POOL)))
        print(
            f"\nserving {url.removesuffix('/api')}\nin another shell, in {home.name}/:\n"
            "  source .venv/bin/activate\n  prefect deployment run build-curriculum/local --watch\n",
            flush=True,
        )
        processes[-1].wait()
    finally:
        # The worker first, while its server still answers: it says goodbye there.
        for process in reversed(processes):
            _stop(process)


if __name__ == "__main__":
    guarded(_main)
