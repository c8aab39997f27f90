"""The edge of a stage on the command line: run it, time it, record its counts in reports/build.json."""

import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.common.errors import UserError, full_disk_named
from tasks.common.fanout import in_workers, worker_count
from tasks.common.tables import write_text

BUILD = Path("reports/build.json")
LOCKS = Path(".dvc/tmp")
log = logging.getLogger("dinproof")


@dataclass(frozen=True)
class Counts:
    """What a stage did and what it found already done, by kind: items, mixtures, references, shards."""

    done: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)


def record(stage: str, seconds: float, counts: Counts) -> None:
    """Write one stage's row of reports/build.json. The file is not hashed: it holds times."""
    BUILD.parent.mkdir(parents=True, exist_ok=True)
    with (BUILD.parent / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two training stages may end at once
        build: dict[str, Any] = json.loads(BUILD.read_text()) if BUILD.exists() else {}
        build[stage] = {"seconds": round(seconds, 2), "done": counts.done, "reused": counts.reused}
        write_text(BUILD, json.dumps(build, indent=1, sort_keys=True) + "\n")


@contextmanager
def one_at_a_time(name: str, what: str) -> Iterator[None]:
    """Hold the lock of that name in this folder; where another process has it, say so (`what` runs) and wait. A killed one lets go."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what} runs in this folder: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stage_alone(stage: str) -> AbstractContextManager[None]:
    """Whoever drives it, a stage runs once at a time: two would prune each other's files. The second finds done what the first has done."""
    return one_at_a_time(f"stage-{stage}", f"stage {stage} already")


def setup_logging() -> None:
    """One line an event, on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "numba", "datasets", "transformers", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def guarded(body: Callable[[], None]) -> None:
    """Run `body`; a UserError, or a full disk, becomes one line on standard error and exit status 2."""
    try:
        with full_disk_named():
            body()
    except UserError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; finished shards are kept, run the same command to go on", 130))


def _fail(message: str, status: int = 2) -> int:
    tqdm.write(f"error: {message}", file=sys.stderr)  # on a line of its own where a bar is still open
    return status


def main(stage: str, run: Callable[..., Counts]) -> None:
    """Entry point of `python -m tasks.<stage> [ARGS]`: `run(*ARGS)`, with `fan_out` where it takes one."""
    import inspect

    from tasks.common.versions import check  # which is a command itself, and needs this module

    setup_logging()
    args = sys.argv[1:]
    name = "@".join([stage, *args])

    first = not int(os.environ.get("RANK", 0))  # of several processes of a training run the first locks and tells

    def body() -> None:
        with stage_alone(name) if first else nullcontext():
            staged()

    def staged() -> None:
        check()
        start = time.perf_counter()
        if "fan_out" in inspect.signature(run).parameters:
            workers, reason = worker_count()
            log.info("%s: up to %d worker(s), %s", name, workers, reason)
            counts = run(*args, fan_out=in_workers)
        else:
            counts = run(*args)
        if not first:
            return
        record(name, time.perf_counter() - start, counts)
        log.info("%s: done %s, reused %s, %.1f s", name, counts.done, counts.reused, time.perf_counter() - start)

    os.environ.setdefault("PYTHONHASHSEED", "0")
    guarded(body)
