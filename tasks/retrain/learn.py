"""One method, retrained: the last model goes on with the rows that are new to it and a replay of the others, and is judged.

The candidate that is kept becomes models/<method>.retrained, a `from_pretrained` folder with its lineage, which `evaluate.methods` can name.
models/<method> stays what `dvc repro` makes: the method trained from scratch.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.common.params import load
from tasks.common.seeds import content_id, folder_revision
from tasks.common.sha256sums import add_sum
from tasks.common.tables import write_text
from tasks.engines import model_revision
from tasks.retrain.judge import answers, decide, scores
from tasks.retrain.params import RetrainParams
from tasks.retrain.rows import blend, not_in, sampled, split
from tasks.training.checkpoints import Run
from tasks.training.data import CURRICULUM, clean_waves, training_rows
from tasks.training.methods import objective
from tasks.training.params import RunParams, training_params
from tasks.training.stage import BOARDS, LOG, MODELS, fit, publish, recipe, seeded, threads
from tasks.training.trainer import write_log
from tasks.training.validate import VALIDATION, validation_rows

CANDIDATES = MODELS / ".candidates"
LINEAGE = "lineage.yaml"
REPORT = Path("reports/retrain.json")
log = logging.getLogger("dinproof")
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One method to retrain.

    Args:
        method: its name.
        start: folder of the last model.
        train: training files of the curriculum that it has heard.
        validation: the validation file of that curriculum.
        lineage: what is known of the start and of the build, to be written beside a model that is kept; `retrainings` holds those before.
    """

    method: str
    start: Path
    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    lineage: dict[str, Any]


def retrained(method: str) -> Path:
    """Where the promoted model of a method lies."""
    return MODELS / f"{method}.retrained"


def shortened(own: RunParams, step_share: float, learning_rate_share: float) -> RunParams:
    """The run of a model that goes on: fewer and smaller steps, all levels from the start, since it has been through the easy ones."""
    steps = max(1, round(step_share * own.steps))
    changes = {"steps": steps, "warmup_steps": min(own.warmup_steps, steps // 2), "learning_rate": learning_rate_share * own.learning_rate}
    return own.model_copy(update={**changes, "curriculum": own.curriculum.model_copy(update={"schedule": "uniform"})})


def retrain(job: Job) -> Outcome:
    """Train, judge, and promote or drop one method's candidate; the outcome is also written to reports/retrain.json.

    A candidate that was dropped before from the same start, rows, settings and code is not trained again. Raises UserError where inputs are missing.
    """
    params, training = load("retrain", RetrainParams), training_params()
    method, own = seeded(training, job.method)
    own = shortened(own, params.step_share, params.learning_rate_share)
    fresh = not_in(sorted((CURRICULUM / "train").glob("*.parquet")), job.train)
    new, old = split(training_rows(objective(training, method, own).responses), fresh)
    gone = len(not_in(job.train, sorted((CURRICULUM / "train").glob("*.parquet"))))
    about: Outcome = {"start": str(job.start), "rows_new": len(new), "rows_old": len(old), "rows_gone": gone}
    if not new:
        return _recorded(job.method, {**about, "verdict": "nothing new", "why": "no row of the curriculum is new to it"})
    rows = blend(new, old, params.replay_share, own.steps * own.batch_items, own.seed)
    described = {
        **recipe(method, own, training, rows),
        "backbone": model_revision(job.start),
        **{f"retrain.{name}": value for name, value in params.model_dump().items()},
        "retrain.code": folder_revision(Path(__file__).parent, ("*.py",)),
    }
    about |= {"recipe": content_id(described), "steps": own.steps, "examples": len(rows)}
    earlier = read_report().get(job.method, {})
    if earlier.get("recipe") == about["recipe"] and earlier["verdict"] == "kept":
        log.info("retrain %s: this candidate was dropped before, %s", job.method, earlier["why"])
        return earlier
    candidate = CANDIDATES / job.method
    with threads(training.threads):
        run = Run(candidate_name(job.method), described) if own.save_every else None
        student, _, lines = fit(method, own, training, rows, clean_waves(rows), job.start, run=run, board=BOARDS / candidate_name(job.method))
        publish(student, candidate)
        write_log(candidate / LOG, lines)
        add_sum(candidate / LOG)
        before, after = split(validation_rows(1 << 62), not_in([VALIDATION], job.validation))[::-1]
        kept, added = (sampled(part, params.validation_rows, name) for part, name in ((before, "old"), (after, "new")))
        previous, after_it = (answers(folder, kept, added, training.max_new_tokens) for folder in (job.start, candidate))
        found = scores(previous, after_it, kept, added)
    better, why = decide(found, params.margin_points)
    outcome = {**about, "scores": found, "verdict": "promoted" if better else "kept", "why": why}
    if better:
        retrainings = [*job.lineage["retrainings"], {"outcome": outcome, "settings": described}]
        write_text(candidate / LINEAGE, yaml.safe_dump({**job.lineage, "retrainings": retrainings}, sort_keys=False))
        promote(candidate, retrained(job.method))
    shutil.rmtree(CANDIDATES, ignore_errors=True)
    if run:
        run.remove()
    return _recorded(job.method, outcome)


def candidate_name(method: str) -> str:
    """Under what a candidate's checkpoints and curves lie."""
    return f"retrain-{method}"


def promote(candidate: Path, final: Path) -> None:
    """Put the candidate in the place of the model before it. Killed in between, the next retraining goes on from models/<method>."""
    aside = final.with_name(f".{final.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.replace(aside)
    candidate.replace(final)
    shutil.rmtree(aside, ignore_errors=True)


def read_report() -> dict[str, Outcome]:
    """The last outcome of every method."""
    found: dict[str, Outcome] = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    return found


def _recorded(method: str, outcome: Outcome) -> Outcome:
    write_text(REPORT, json.dumps({**read_report(), method: outcome}, indent=1, sort_keys=True) + "\n")
    log.info("retrain %s: %s, %s", method, outcome["verdict"], outcome["why"])
    return outcome
