"""Fan-out: one call runs a function over shards, in this process, in worker processes, or as Prefect task runs.

A stage that takes `fan_out` is driven by whoever calls it; the results come back in the order of the jobs, so the
number of workers cannot change what a stage writes. A shard is ten seconds of work or so: never one clip.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

J = TypeVar("J")
R = TypeVar("R")


class FanOut(Protocol):
    """`fan_out(work, jobs, label)` returns `[work(job) for job in jobs]`, wherever it runs them.

    `work` is a module-level function and both jobs and results pickle.
    """

    def __call__(self, work: Callable[[J], R], jobs: Sequence[J], label: str) -> list[R]: ...


def worker_count() -> tuple[int, str]:
    """Worker processes to use, and why; `WORKERS` overrides."""
    asked = os.environ.get("WORKERS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked), f"WORKERS={asked}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores, f"{cores} cores are available to this process"


def progress(total: int, label: str, unit: str = "shard") -> "tqdm[Any]":
    """A bar with time left, the same look for every stage."""
    return tqdm(total=total, desc=f"  {label}", unit=unit, dynamic_ncols=True, mininterval=0.5, smoothing=0.1)


def in_process(work: Callable[[J], R], jobs: Sequence[J], label: str) -> list[R]:
    """The fan-out of one worker: a loop here, with a bar."""
    results: list[R] = []
    with progress(len(jobs), label) as bar:
        for job in jobs:
            results.append(work(job))
            bar.update()
    return results


def end_with_parent() -> None:
    """In a worker process: exit once the process that started it is gone, killed or not, so that no orphan goes on writing."""
    parent = multiprocessing.parent_process()
    name = "end with parent"
    if parent is not None and all(thread.name != name for thread in threading.enumerate()):

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, name=name, daemon=True).start()


def in_workers(work: Callable[[J], R], jobs: Sequence[J], label: str) -> list[R]:
    """The fan-out of a shell run: a pool of worker processes, started fresh (fork and threads do not mix)."""
    workers = min(worker_count()[0], len(jobs))
    if workers <= 1:
        return in_process(work, jobs, label)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent) as pool, progress(len(jobs), label) as bar:
        futures = [pool.submit(work, job) for job in jobs]
        for future in futures:
            future.add_done_callback(lambda _: bar.update())
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
