"""A Prefect server, a process work pool, the deployments of prefect.yaml and a worker, all on loopback.

    python -m flows.serve        # what `make serve` runs; Ctrl-C stops everything it started

Then, in another shell in this folder: prefect deployment run build-curriculum/local --watch
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from prefect.settings import PREFECT_API_URL

from flows.server import LOG, answers, server, stop
from tasks.common.cli import guarded
from tasks.common.errors import UserError

POOL = "local"


def _prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


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


def _main() -> None:
    url = str(PREFECT_API_URL.value() or "")
    if not url:
        raise UserError("PREFECT_API_URL", "is empty", "Unset it: prefect.toml names the address on loopback")
    home = Path.cwd()
    os.environ["DINPROOF_HOME"] = str(home)  # where prefect.yaml's pull step tells the worker to run
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as running:
        if answers(url):
            print(f"a Prefect server already answers at {url}: using it", flush=True)
        else:
            print(f"starting a Prefect server; it writes to {LOG}", flush=True)
            running.enter_context(server(url))
        _deploy()
        worker = subprocess.Popen(_prefect("worker", "start", "--pool", POOL))
        # Stopped first, while its server still answers: a worker says goodbye there.
        running.callback(stop, worker)
        print(
            f"\nserving {url.removesuffix('/api')}\nin another shell, in {home.name}/:\n"
            "  source .venv/bin/activate\n  prefect deployment run build-curriculum/local --watch\n",
            flush=True,
        )
        worker.wait()


if __name__ == "__main__":
    guarded(_main)
