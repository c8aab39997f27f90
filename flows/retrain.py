"""Go on training when the corpora changed: build what is stale, continue each method on what is new to it, keep it if nothing old is lost.

    python -m flows.retrain --dry-run            # what changed and what would be done; writes nothing
    python -m flows.retrain                      # do it
    prefect deployment run retrain/on-change     # the same on a server, after `make serve`

A model that is kept lies in models/<method>.retrained; models/<method> and dvc.lock stay those of training from scratch (docs/retraining.md).
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FailedRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed

from flows.build_curriculum import build, one_build_here
from flows.graph import read_graph
from flows.retraining.heard import job_of, last_model
from flows.retraining.plan import before_training, plan, trainings
from flows.server import answers, free_url, server
from tasks.common.errors import UserError
from tasks.common.fanout import end_with_parent
from tasks.common.markdown import fenced, table
from tasks.common.params import check_all
from tasks.retrain.learn import Job, Outcome
from tasks.retrain.learn import retrain as retrain_method

CONDITIONS = {"old": "noise heard before", "clean": "clean", "new": "new noise"}


@task(persist_result=False)
def method(job: Job) -> tuple[Outcome | None, UserError | None]:
    """One method, in a process of its own; a user's mistake comes back as a value."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent) as child:
        try:
            return child.submit(retrain_method, job).result(), None
        except UserError as error:
            return None, error


def markdown(outcomes: dict[str, Outcome]) -> str:
    """The outcomes as a table: what each method heard, how it did before and after, and the decision."""
    rows = []
    for name, outcome in outcomes.items():
        rows.append([name, outcome["rows_new"], "", "", "", "", "", f"{outcome['verdict']}: {outcome['why']}"])
        for key, said in CONDITIONS.items():
            found = outcome.get("scores", {}).get(key, {"n": 0})
            if found["n"]:
                low, high = found["difference"]["ci95"]
                change = f"{found['difference']['value']:+.1f} ({low:+.1f} to {high:+.1f})"
                rows.append(["", "", said, found["n"], f"{found['previous']:.1f}", f"{found['candidate']:.1f}", change, ""])
    return table(["method", "new rows", "condition", "questions", "before", "after", "difference, 95 %", ""], rows)


@flow(name="retrain", validate_parameters=False)
def retrain(dry_run: bool = False) -> Any:
    """Plan, build up to the curriculum, continue every method, compare, promote.

    One at a time in a folder, and no build beside it: a second one waits, so that it loses no change that comes while the first is past
    its look, and then finds done what the first has done.
    """
    try:
        with one_build_here():
            check_all()
            graph = read_graph()
            planned = plan(graph)
            said = "\n".join(planned.lines())
            print(said, flush=True)
            create_markdown_artifact(key="retrain-plan", markdown=fenced(said), description="What changed and what follows")
            if dry_run or not planned.seconds:
                return Completed(message="planned" if planned.seconds else "nothing to do")
            build(before_training(graph))
            outcomes: dict[str, Outcome] = {}
            for last in map(last_model, trainings(graph)):
                if last.method not in planned.steps:
                    continue
                outcome, error = method.with_options(task_run_name=last.method)(job_of(last))
                if error is not None:
                    raise error
                outcomes[last.method] = outcome or {}
    except UserError as error:
        return Failed(message=str(error))
    compared = markdown(outcomes)
    print(compared, flush=True)
    create_markdown_artifact(key="retrain-result", markdown=compared, description="Before and after, and what was kept")
    return Completed(message=", ".join(f"{name} {outcome['verdict']}" for name, outcome in outcomes.items()), data=outcomes)


def _on_a_server() -> int:
    """Exit status: on the server of PREFECT_API_URL where one answers, else on one that ends with the run."""
    url = str(PREFECT_API_URL.value() or "")
    if not (url and answers(url)):
        url = free_url()
        # Prefect reads its settings at import, in every thread and worker: the flow runs in a process that starts with this address.
        with server(url):
            return subprocess.run([sys.executable, "-m", "flows.retrain"], env={**os.environ, "PREFECT_API_URL": url}).returncode
    state: Any = retrain(return_state=True)
    try:
        state.result()
    except FailedRun as failed:  # a state without an exception: the flow ended on a user's mistake
        print(f"error: {failed}", file=sys.stderr, flush=True)
        return 2
    return 0


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    if parser.parse_args().dry_run:
        check_all()
        with one_build_here():
            print("\n".join(plan(read_graph()).lines()))
        return
    raise SystemExit(_on_a_server())


if __name__ == "__main__":
    from tasks.common.cli import guarded, setup_logging

    setup_logging()
    os.environ.setdefault("PYTHONHASHSEED", "0")
    guarded(_main)
