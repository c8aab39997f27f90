"""Build the curriculum and train on it: the whole DAG of dvc.yaml, driven by Prefect.

    python -m flows.build_curriculum                 # what `make curriculum` runs
    prefect deployment run build-curriculum/local    # the same on a server, after `make serve`

The flow walks the graph in order, skips what is up to date, and records each finished stage in dvc.lock, so that
`dvc repro` afterwards has nothing to do, and the other way round. A stage of shards is a subflow whose task runs are
its shards; a stage of one piece is a task run, and two of those run side by side.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.futures import PrefectFuture, as_completed
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner

from flows.graph import Stage, commit, read_graph, restore, stale_stages
from flows.server import answers, free_url, server
from tasks.common.cli import Counts, record
from tasks.common.errors import UserError
from tasks.common.fanout import in_process, progress, worker_count
from tasks.common.params import all_params, check_all, switch

J = TypeVar("J")
R = TypeVar("R")


def process_pool() -> Any:
    """Worker processes, spawned: CPU work in Prefect's default thread pool would run one at a time."""
    return ProcessPoolTaskRunner(max_workers=worker_count()[0])


@task(persist_result=False)
def shard(work: Callable[[Any], Any], job: Any) -> tuple[Any, UserError | None]:
    """One shard of a stage. A user's mistake comes back as a value: it is a message, not a crash to trace."""
    try:
        return work(job), None
    except UserError as error:
        return None, error


@task(persist_result=False)
def piece(stage: Stage) -> tuple[Counts | None, UserError | None, float]:
    """A stage that is one piece of work (training), in a process of its own, which ends with it and frees its memory.

    Returns its counts, or the user's mistake that ended it, and the seconds it took.
    """
    start = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
        try:
            return child.submit(stage.function(), *stage.args).result(), None, time.perf_counter() - start
        except UserError as error:
            return None, error, time.perf_counter() - start


def _fan_out(work: Callable[[J], R], jobs: Sequence[J], label: str) -> list[R]:
    """`FanOut` as Prefect task runs, in the process pool of the flow that calls it."""
    if len(jobs) <= 1:
        return in_process(work, jobs, label)
    with progress(len(jobs), label) as bar:
        futures: list[PrefectFuture[Any]] = [
            shard.with_options(task_run_name=f"{label} {number + 1} of {len(jobs)}").submit(work, job) for number, job in enumerate(jobs)
        ]
        for _ in as_completed(futures):
            bar.update()
    results = [future.result() for future in futures]
    errors = [error for _, error in results if error is not None]
    if errors:
        raise errors[0]
    return [result for result, _ in results]


def run_sharded(stage: Stage) -> Counts:
    """Run a stage of shards as a subflow named after it."""
    outcome: list[Counts | UserError] = []

    @flow(name=stage.name, flow_run_name=stage.name, task_runner=process_pool())
    def subflow() -> "State[Any]":
        try:
            outcome.append(stage.function()(*stage.args, fan_out=_fan_out))
        except UserError as error:
            outcome.append(error)
            return Failed(message=str(error))
        return Completed(message="built")

    state: Any = subflow(return_state=True)
    if not outcome:
        state.result()  # not a user's mistake: raises the exception that ended the run
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return outcome[0]


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


METRICS = Path("reports/metrics.json")


def _result_markdown(ran: list[str], total: int) -> str:
    lines = [f"{len(ran)} of {total} stages ran: {', '.join(ran) or 'nothing was stale'}"]
    if METRICS.exists():
        from tasks.report.figures import markdown_table
        from tasks.report.stage import read_metrics

        lines += [markdown_table(*read_metrics()), "Report: `reports/index.html`"]
    return "\n\n".join(lines)


def build(graph: list[Stage]) -> list[str]:
    """Bring every stage up to date, in order; returns the names of those that ran. Called inside the flow."""
    log = get_run_logger()
    waiting, done, ran = list(graph), set[str](), list[str]()
    pieces: dict[PrefectFuture[Any], Stage] = {}

    def finish(stage: Stage, counts: Counts, seconds: float) -> None:
        record(stage.name, seconds, counts)
        commit(stage.name)
        done.add(stage.name)
        ran.append(stage.name)
        _say(f"  {stage.name}: done {counts.done or '{}'}, reused {counts.reused or '{}'}, {seconds:.1f} s")

    while waiting or pieces:
        ready = [stage for stage in waiting if stage.upstream <= done]
        if not ready:
            future = next(iter(as_completed(list(pieces))))
            counts, error, seconds = future.result()
            if error is not None:
                raise error
            finish(pieces.pop(future), counts or Counts(), seconds)
            continue
        # Pieces first: they run in the background while the shards of other stages go through.
        stage = min(ready, key=Stage.fans_out)
        waiting.remove(stage)
        if not stale_stages([stage.name]) or restore(stage.name):
            done.add(stage.name)
            continue
        _say(f"[{len(graph) - len(waiting)}/{len(graph)}] {stage.name}")
        log.info("stage %s", stage.name)
        if stage.fans_out():
            start = time.perf_counter()
            finish(stage, run_sharded(stage), time.perf_counter() - start)
        else:
            pieces[piece.with_options(task_run_name=stage.name).submit(stage)] = stage
    return ran


@flow(name="build-curriculum", validate_parameters=False)
def build_curriculum(profile: str | None = None, corpora: str | None = None) -> Any:
    """Catalog to report. `profile` and `corpora` switch params.yaml first, as `make curriculum PROFILE= CORPORA=` does."""
    try:
        if profile or corpora:
            switch(profile or str(all_params()["profile"]), corpora)
        check_all()
        graph = read_graph()
        ran = build(graph)
    except UserError as error:
        return Failed(message=str(error))
    create_markdown_artifact(key="curriculum-result", markdown=_result_markdown(ran, len(graph)), description="What was built, and the metrics")
    return Completed(message=f"{len(ran)} of {len(graph)} stages ran", data=ran)


def _build_with_server() -> int:
    """Exit status of a build: on the server of PREFECT_API_URL where one answers, else on one that ends with the build."""
    url = str(PREFECT_API_URL.value() or "")
    if not (url and answers(url)):
        _say("no Prefect server is running: this build brings its own (make serve starts one that stays)")
        url = free_url()
        # Prefect reads its settings at import, in every thread and worker: the build runs in a process that starts with this address.
        with server(url):
            return subprocess.run([sys.executable, "-m", "flows.build_curriculum"], env={**os.environ, "PREFECT_API_URL": url}).returncode
    workers, reason = worker_count()
    _say(f"up to {workers} worker(s): {reason}; Prefect at {url}")
    state: Any = build_curriculum(return_state=True)
    try:
        state.result()
    except FailedRun as failed:  # a state without an exception: the flow ended on a user's mistake
        _say(f"error: {failed}")
        return 2
    _say_results()
    return 0


def _say_results() -> None:
    if METRICS.exists():
        from tasks.report.stage import closing_lines

        print("\n".join(closing_lines()))


def _main() -> None:
    check_all()
    read_graph()
    if stale_stages():
        raise SystemExit(_build_with_server())
    _say("everything is up to date")
    _say_results()


if __name__ == "__main__":
    from tasks.common.cli import guarded

    os.environ.setdefault("PYTHONHASHSEED", "0")
    guarded(_main)
