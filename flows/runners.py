"""Where the shards of a stage run: worker processes of this machine, a Dask cluster or a Ray cluster.

`RUNNER=process|dask|ray` or the flows' parameter `runner` chooses. Dask and Ray start a cluster of `WORKERS` on this machine for
the length of a stage, unless DASK_SCHEDULER_ADDRESS or RAY_ADDRESS, their own variables, name one that runs. Jobs are cut by
content and results come back in order, so all three write the same bytes.
"""

import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from typing import Any, Self

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from tasks.common.errors import UserError
from tasks.common.fanout import end_with_parent, worker_count

RUNNERS = ("process", "dask", "ray")
RAY_STORE_BYTES = 128 * 2**20  # jobs and results are paths and counts; by default Ray takes a third of the memory
# What dask.distributed and Ray call a worker that died; compared by name, because both packages are optional.
LOST = {"KilledWorker", "CommClosedError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError"}


def runner_name(asked: str | None = None) -> str:
    """The runner to use: `asked`, else RUNNER, else `process`; raises UserError for one that is unknown or not installed."""
    name = asked or os.environ.get("RUNNER") or "process"
    if name not in RUNNERS:
        raise UserError(f"runner={name}", "unknown runner", f"Choose one of: {', '.join(RUNNERS)}")
    if name != "process" and find_spec(f"prefect_{name}") is None:
        raise UserError(f"runner={name}", f"prefect-{name} is not installed", f"pip install --constraint constraints.txt --editable '.[{name}]'")
    return name


class Processes(ProcessPoolTaskRunner):
    """Prefect's pool of processes, each of which ends with its parent even if it has never had a shard."""

    def __enter__(self) -> Self:
        super().__enter__()
        pool: Any = self._executor  # its processes start with the first shard
        pool._initializer, pool._initargs = _begin, (pool._initializer, *pool._initargs)
        return self


def _begin(as_prefect_does: Callable[..., None], *arguments: Any) -> None:
    end_with_parent()
    as_prefect_does(*arguments)


def task_runner(name: str) -> TaskRunner[Any]:
    """A Prefect task runner of that name, for one stage. Each worker does one shard at a time."""
    workers = worker_count()[0]
    if name == "dask":
        from prefect_dask import DaskTaskRunner

        if address := os.environ.get("DASK_SCHEDULER_ADDRESS"):
            return DaskTaskRunner(address=address)
        return DaskTaskRunner(cluster_kwargs={"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None})
    if name == "ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from prefect_ray import RayTaskRunner

        if address := os.environ.get("RAY_ADDRESS"):
            return RayTaskRunner(address=address, init_kwargs={"log_to_driver": False})
        local = {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False, "object_store_memory": RAY_STORE_BYTES}
        return RayTaskRunner(init_kwargs=local)
    # Spawned processes: CPU work in Prefect's default thread pool would run one at a time.
    return Processes(max_workers=workers)


def may_pass(error: BaseException) -> bool:
    """Whether another attempt may help: a worker was lost, an engine outside or a store did not answer. A user's mistake stays one."""
    from flows.store import StoreError
    from tasks.engines import EngineError

    return isinstance(error, BrokenProcessPool | EngineError | StoreError) or any(kind.__name__ in LOST for kind in type(error).__mro__)


def cards() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU this process may use; empty without one."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]
