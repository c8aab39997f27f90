"""Build the curriculum and train on it: the whole DAG of dvc.yaml, driven by Prefect.

    python -m flows.build_curriculum                 # what `make curriculum` runs
    prefect deployment run build-curriculum/local    # the same on a server, after `make serve`

The flow walks the graph in order, skips what is up to date, and records each finished stage in dvc.lock, so that
`dvc repro` afterwards has nothing to do, and the other way round. A stage of shards is a subflow whose task runs are
its shards; a stage of one piece is a task run, and two of those run side by side (with GPUs: each on a card of its own).
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.exceptions import FailedRun
from prefect.futures import PrefectFuture, as_completed
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from prefect.utilities.timeout import timeout

from flows.graph import Stage, commit, held, leading_to, read_graph, restore, stale_stages, sweep
from flows.runners import cards, may_pass, runner_name
from flows.server import answers, free_url, server
from flows.shards import piece, run_sharded
from tasks.common.cli import Counts, one_at_a_time, record, stage_alone
from tasks.common.errors import UserError, full_disk_named
from tasks.common.fanout import worker_count
from tasks.common.params import all_params, check_all, switch
from tasks.common.versions import upgrades

METRICS, REPORT = Path("reports/metrics.json"), Path("reports/index.html")
WAITS_S = (10, 60)  # before a second and a third attempt: a worker is back in seconds, a restarted engine within a minute


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def one_build_here() -> AbstractContextManager[None]:
    """Hold this folder for a build. Another build waits: two would write the same outputs."""
    return one_at_a_time("build", "another build")


def _result_markdown(ran: Sequence[str], total: int) -> str:
    lines = [f"{len(ran)} of {total} stages ran: {', '.join(ran) or 'nothing was stale'}"]
    if METRICS.exists():
        from tasks.report.figures import markdown_table
        from tasks.report.stage import read_metrics

        lines += [markdown_table(*read_metrics()), f"Report: `{REPORT}`"]
    return "\n\n".join(lines)


def _publish(stages: Sequence[dict[str, Any]], total: int) -> None:
    """The artifacts of a build: what ran as a table, the result as Markdown, a link to the report."""
    create_table_artifact(key="stages", table=list(stages), description="Stages that ran")
    create_markdown_artifact(
        key="curriculum-result", markdown=_result_markdown([row["stage"] for row in stages], total), description="What was built, and the metrics"
    )
    if REPORT.exists():
        create_link_artifact(key="report", link=REPORT.resolve().as_uri(), link_text=str(REPORT), description="The report of this folder")


def _behind_models(graph: Sequence[Stage]) -> set[str]:
    """Stages that wait for a piece (a model), directly or not: those may use a GPU themselves."""
    behind: set[str] = set()
    pieces = {stage.name for stage in graph if not stage.fans_out()}
    for stage in graph:
        if stage.upstream & (pieces | behind):
            behind.add(stage.name)
    return behind


def build(graph: list[Stage], runner: str = "process") -> list[dict[str, Any]]:
    """Bring every stage up to date, in order; called inside a flow.

    With GPUs there is one job a card: a piece has one for itself, and a stage of shards behind a model waits until the cards are free.
    A stage that lost its worker, or whose engine outside failed, is tried again after 10 and 60 s; it keeps its finished shards.

    Returns:
        a row a stage that ran: `stage`, `seconds`, `done`, `reused`.
    """
    log = get_run_logger()
    sweep()
    waiting, done, ran = list(graph), set[str](), list[dict[str, Any]]()
    pieces: dict[PrefectFuture[Any], tuple[Stage, str | None]] = {}
    failures = Counter[str]()
    at_work: dict[str, ExitStack] = {}
    free: list[str] | None = None  # cards; None where there is no card to share
    behind: set[str] = set()

    def start(stage: Stage) -> bool:
        """Hold a stage for this process; whether it must run, because no earlier run had the same inputs."""
        hold = at_work[stage.name] = ExitStack()
        hold.enter_context(held(stage.name))
        hold.enter_context(stage_alone(stage.name))
        return not restore(stage.name)

    def finish(stage: Stage, counts: Counts, seconds: float) -> None:
        record(stage.name, seconds, counts)
        commit(stage.name)
        at_work.pop(stage.name).close()
        done.add(stage.name)
        ran.append({"stage": stage.name, "seconds": round(seconds, 1), "done": str(counts.done), "reused": str(counts.reused)})
        _say(f"  {stage.name}: done {counts.done or '{}'}, reused {counts.reused or '{}'}, {seconds:.1f} s")

    def again(stage: Stage, error: Exception) -> None:
        """Put a stage back that another attempt may help, after a wait; raises `error` otherwise."""
        at_work.pop(stage.name).close()
        if failures[stage.name] == len(WAITS_S) or not may_pass(error):
            raise error
        seconds = WAITS_S[failures[stage.name]]
        failures[stage.name] += 1
        message = f"stage {stage.name}: {str(error) or type(error).__name__}; attempt {failures[stage.name] + 1} in {seconds} s"
        log.warning(message)
        _say(f"  {message}")
        time.sleep(seconds)
        waiting.insert(0, stage)

    def may_start(stage: Stage) -> bool:
        if stage.upstream - done:
            return False
        if free is None:
            return True
        return not (pieces and stage.name in behind) if stage.fans_out() else bool(free)

    def wait_for_a_piece() -> None:
        future = next(iter(as_completed(list(pieces))))
        stage, card = pieces.pop(future)
        if free is not None and card is not None:
            free.append(card)
        try:
            counts, error, seconds = future.result()
        except Exception as error:
            again(stage, error)
            return
        if error is not None:
            raise error
        finish(stage, counts or Counts(), seconds)

    try:
        while waiting or pieces:
            ready = [stage for stage in waiting if may_start(stage)]
            if not ready:
                wait_for_a_piece()
                continue
            # Pieces first: they run in the background while the shards of other stages go through.
            stage = min(ready, key=Stage.fans_out)
            waiting.remove(stage)
            if not stale_stages([stage.name]) or not start(stage):
                at_work.pop(stage.name, ExitStack()).close()
                done.add(stage.name)
                continue
            _say(f"[{len(graph) - len(waiting)}/{len(graph)}] {stage.name}")
            log.info("stage %s", stage.name)
            if stage.fans_out():
                began = time.perf_counter()
                try:
                    counts = run_sharded(stage, runner)
                except Exception as error:
                    again(stage, error)
                else:
                    finish(stage, counts, time.perf_counter() - began)
                continue
            if free is None and not pieces and (found := cards()):
                free, behind = found, _behind_models(graph)
            card = free.pop(0) if free else None
            pieces[piece.with_options(task_run_name=stage.name).submit(stage, card)] = stage, card
    except UserError:
        raise
    except BaseException:  # cancelled, out of time or a fault: nobody would record what a piece still makes
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        for hold in at_work.values():
            hold.close()
    return ran


def drive(targets: Sequence[str], profile: str | None, corpora: str | None, runner: str | None, hours: float | None) -> Any:
    """The body of the flows build-curriculum, train and evaluate: the stages that lead to `targets` ([]: all of them), within `hours`.

    Returns a Prefect state: completed with the names of the stages that ran, or failed with a user's mistake or the time limit in one line.
    """
    try:
        with full_disk_named(), timeout(None if hours is None else hours * 3600), one_build_here():
            chosen = runner_name(runner)
            if profile or corpora:
                switch(profile or str(all_params()["profile"]), corpora)
            check_all()
            graph = read_graph()
            graph = leading_to(graph, targets) if targets else graph
            for line in upgrades():
                _say(line)
            ran = build(graph, chosen)
    except UserError as error:
        return Failed(message=str(error))
    except TimeoutError:
        return Failed(message=f"hours={hours:.3g}: the time limit is over. Run it again to go on: finished stages and shards are kept")
    _publish(ran, len(graph))
    return Completed(message=f"{len(ran)} of {len(graph)} stages ran", data=[row["stage"] for row in ran])


@flow(name="build-curriculum", validate_parameters=False)
def build_curriculum(profile: str | None = None, corpora: str | None = None, runner: str | None = None, hours: float | None = None) -> Any:
    """Catalog to report.

    Args:
        profile: switches params.yaml first, as `make curriculum PROFILE=` does; so does `corpora`.
        corpora: the folder of recordings.
        runner: where shards run: process, dask or ray (docs/orchestration.md); RUNNER, else process, where it is not given.
        hours: the build ends as failed after so long; what is finished is kept.
    """
    return drive([], profile, corpora, runner, hours)


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
    with one_build_here():
        sweep()
    _say("everything is up to date")
    _say_results()


if __name__ == "__main__":
    from tasks.common.cli import guarded

    os.environ.setdefault("PYTHONHASHSEED", "0")
    guarded(_main)
