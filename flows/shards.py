"""Stages as Prefect runs: a stage of shards is a subflow whose task runs are its shards, a stage of one piece is a task run."""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed

from flows.graph import Stage
from flows.remote import Offer, collect, data_url, offer, store_of, workplace
from flows.runners import task_runner
from flows.store import Store
from tasks.common.cli import Counts
from tasks.common.errors import UserError, full_disk_named
from tasks.common.fanout import end_with_parent, in_process, progress

J = TypeVar("J")
R = TypeVar("R")
ROUND = 1024  # shards submitted at a time: each waits with its job, half a megabyte of plan


@task(persist_result=False)
def shard(work: Callable[[Any], Any], job: Any, place: Offer | str) -> tuple[Any, UserError | None, float, dict[str, str]]:
    """One shard of a stage, run in the project's folder or on what was offered (flows.remote): its result, seconds, and what it wrote elsewhere.

    A user's mistake comes back as a value: it is a message, not a crash to trace.
    """
    end_with_parent()
    start, written = time.perf_counter(), dict[str, str]()
    try:
        with full_disk_named(), workplace(place, written):
            result = work(job)
    except UserError as error:
        return None, error, time.perf_counter() - start, written
    return result, None, time.perf_counter() - start, written


def _in_child(stage: Stage, card: str | None) -> Counts:
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card  # before the stage imports torch
    with full_disk_named():
        return stage.function()(*stage.args)


@task(persist_result=False)
def piece(stage: Stage, card: str | None) -> tuple[Counts | None, UserError | None, float]:
    """A stage that is one piece of work (training), in a process of its own, which ends with it and frees its memory.

    Args:
        stage: the stage.
        card: the GPU it has for itself, if any.

    Returns:
        its counts, or the user's mistake that ended it, and the seconds it took.
    """
    start = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent) as child:
        try:
            return child.submit(_in_child, stage, card).result(), None, time.perf_counter() - start
        except UserError as error:
            return None, error, time.perf_counter() - start


def _fan_out(work: Callable[[J], R], jobs: Sequence[J], label: str, *, stage: Stage, store: Store | None) -> list[R]:
    """`FanOut` as Prefect task runs, by the task runner of the subflow that calls it; with a store, of workers that see nothing else.

    A mistake ends it after the round it shows in.
    """
    if len(jobs) <= 1:
        return in_process(work, jobs, label)
    log, results = get_run_logger(), list[R]()
    place = offer(store, stage) if store else str(Path.cwd())
    with progress(len(jobs), label) as bar:
        for start in range(0, len(jobs), ROUND):
            names = [f"{label} {start + number} of {len(jobs)}" for number in range(1, len(jobs[start : start + ROUND]) + 1)]
            futures: list[PrefectFuture[Any]] = [
                shard.with_options(task_run_name=name).submit(work, job, place) for name, job in zip(names, jobs[start : start + ROUND], strict=True)
            ]
            for future in as_completed(futures):
                outcome = future.result(raise_on_failure=False)
                if store and isinstance(outcome, tuple):  # at once: what is finished is kept, whatever becomes of the others
                    collect(store, outcome[3])
                bar.update()
            outcomes = [future.result() for future in futures]
            for name, (_, error, seconds, _) in zip(names, outcomes, strict=True):
                log.info("stage %s, %s: %s", stage.name, name, error or f"{seconds:.1f} s")
            for _, error, _, _ in outcomes:
                if error is not None:
                    raise error
            results += [result for result, _, _, _ in outcomes]
    return results


def run_sharded(stage: Stage, runner: str = "process") -> Counts:
    """Run a stage of shards as a subflow named after it, its shards where `runner` (flows.runners) says."""
    outcome: list[Counts | UserError] = []
    store = store_of(stage)
    # Workers elsewhere have no use for a stage that stays with its disk.
    where = "process" if data_url() and store is None else runner

    @flow(name=stage.name, flow_run_name=stage.name, task_runner=task_runner(where))
    def subflow() -> "State[Any]":
        try:
            with full_disk_named():
                outcome.append(stage.function()(*stage.args, fan_out=partial(_fan_out, stage=stage, store=store)))
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
