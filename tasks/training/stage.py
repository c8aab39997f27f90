"""The training stage: the backbone and the curriculum in, models/<method> out."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tasks.common.audio import Wave
from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.seeds import content_id
from tasks.common.sha256sums import add_sum
from tasks.common.tables import publish_folder, temporary_name
from tasks.common.versions import libraries_of, made_by, of
from tasks.engines.base import model_revision
from tasks.engines.device import place
from tasks.training.adapters import load_models, write_model
from tasks.training.caad import paths
from tasks.training.cached_teacher import remembered
from tasks.training.checkpoints import Run, flat, on_disk, step_of
from tasks.training.data import Curriculum, Row, clean_turns, clean_waves, taught, training_rows
from tasks.training.families import family_of
from tasks.training.heard import HEARD, files_read, write_heard
from tasks.training.methods import Objective, objective
from tasks.training.objectives import feature_variance
from tasks.training.order import planned
from tasks.training.params import CaadParams, RunParams, TrainingParams, run_params, training_params
from tasks.training.passes import Cast, Figures
from tasks.training.processes import here
from tasks.training.scoring import audio_positions, listening, read, unpacked
from tasks.training.trainer import train, write_log
from tasks.training.validate import Probe, accuracies, validation_rows
from tasks.training.vllm_rollouts import VllmRollouts

BACKBONE = Path("models/backbone")
MODELS = Path("models")
LOG = "train_log.jsonl"
BOARDS = Path("reports/tensorboard")  # events hold times, so they are no output
CODE = ("tasks.training", "tasks.engines")  # what the weights hang on; families are imported by name
CALIBRATION_CLIPS = 64  # their clean features give the unit of the representation term; more move it by less than a hundredth
log = logging.getLogger("dinproof")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch threads for the run: the last bits of a sum hang on their number, so it is a parameter and not the machine's choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(name: str = "") -> Counts:
    """Train one method from the backbone and write models/<name>; goes on from a checkpoint of the same run where there is one.

    `name` is a method, or one with another seed than its parameters say: `caad@1`. On several processes (`accelerate launch`) the first alone
    logs, saves and publishes. Raises UserError for an unknown method, a seed that is no number, or missing inputs.
    """
    training = training_params()
    method, own = seeded(training, name)
    for folder in (BACKBONE, training.teacher):
        if not (folder / "config.json").is_file():
            raise UserError(str(folder), "no model here", "Run the backbone stage: python -m tasks.backbone")
    main = here().is_main_process
    if not main:
        log.setLevel(logging.WARNING)
    with threads(training.threads):
        rows = training_rows(objective(training, method, own).responses)
        held_out = validation_rows(training.validation_rows)
        known = recipe(method, own, training, rows)  # also says where the backbone is not what was written
        kept = Run(name, known) if own.save_every else None
        read_now = files_read() if main else {}
        student, _, lines = fit(method, own, training, rows, clean_waves(rows), BACKBONE, run=kept, board=BOARDS / name, held_out=held_out)
        if main:
            folder = MODELS / name
            with on_disk(folder, "the trained model", "Free space there and run the same command again"):
                publish(student, folder)
                write_heard(folder, read_now, {str(BACKBONE): known["backbone"], str(training.teacher): known["teacher"]}, known)
                add_sum(folder / HEARD)
            models = {"base": BACKBONE, name: folder}
            validation = [
                {"model": model, "split": "validation", **accuracies(path, held_out, training.max_new_tokens)} for model, path in models.items()
            ]
            for line in validation:
                log.info("training: %s", ", ".join(f"{key} {value}" for key, value in line.items()))
            with on_disk(folder, "its log", "Free space there and run the same command again"):
                write_log(folder / LOG, [*lines, *validation])
                add_sum(folder / LOG)
            if kept:
                kept.remove()
    return Counts(done={"steps": own.steps, "items": len(rows), "untaught": sum(not taught(row) for row in rows)})


def seeded(training: TrainingParams, name: str) -> tuple[str, RunParams]:
    """The method that `name` (`caad`, `caad@1`) stands for, and its parameters with that seed."""
    method, at, seed = name.partition("@")
    own = run_params(training, method)
    if not at:
        return method, own
    if not seed.isdigit():
        raise UserError(f"training {name}", f"'{seed}' is no seed", f"Write a whole number: {method}@1")
    return method, own.model_copy(update={"seed": int(seed)})


def recipe(method: str, own: RunParams, training: TrainingParams, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything the weights and the log of a run hang on, flat: a checkpoint is gone on from where all of it is the same."""
    parts = {part.name: {**part.params.model_dump(mode="json"), "weight": part.weight} for part in objective(training, method, own).parts}
    kept = own.model_dump(mode="json", exclude={"save_every"})
    shared = training.model_dump(mode="json", include={"threads", "log_every", "validation_rows", "max_new_tokens"})
    return flat(
        {
            "run": kept,
            "parts": {name: part for name, part in parts.items() if name != method},
            "training": shared,
            "rows": content_id([{key: value for key, value in row.items() if key != "audio"} for row in rows]),
            "backbone": model_revision(BACKBONE),
            "teacher": model_revision(training.teacher),
            "code": made_by(*CODE),
            "versions": of(*libraries_of(*CODE)),
            "processes": here().num_processes,
        }
    )


def fit(
    method: str,
    own: RunParams,
    training: TrainingParams,
    rows: Sequence[Row],
    waves: dict[str, Wave],
    backbone: Path,
    *,
    run: Run | None = None,
    board: Path | None = None,
    held_out: Sequence[Row] = (),
) -> tuple[Any, Any, list[Figures]]:
    """Train `backbone` on `rows` (with their clean audio by clip_id): the student, its processor, and the lines of its log.

    Args:
        run: where checkpoints lie; None keeps none and starts anew.
        board: folder for TensorBoard's events; None writes none.
        held_out: validation rows to ask the student of on the way.
    """
    goal = objective(training, method, own)
    order, remixed = planned(rows, waves, own)
    clean = clean_turns(own.steps * own.batch_items, own.clean_share, own.seed)
    device = here().device
    log.info("training %s: %s; %d rows, %d steps of %d items", method, place()[2], len(rows), own.steps, own.batch_items)
    if run and here().is_main_process:
        for line in run.others():
            log.info("%s", line)
        if newest := run.newest():
            log.info("training %s: resuming from step %d (%s)", method, step_of(newest), newest)
    models = load_models(own, backbone, training.teacher, device)
    dataset = Curriculum(
        rows, waves, models.processor, goal.views, order, clean, training.cached_views, own.curriculum.candidates, remixed, own.speeds, own.seed
    )
    with models.teaching():
        variance = spread(models.teacher, models.processor, dataset, device) if goal.lambda_features else 1.0
    with here().main_process_first():  # it fills the cache, the others read it
        known = kept_teacher(goal, own.speeds, rows, waves, training.teacher)
    cast = Cast(
        models.teacher,
        models.processor,
        own.rollouts,
        own.seed,
        feature_variance=variance,
        kept=known,
        teaching=models.teaching,
        generate=VllmRollouts(backbone, dataset, goal.sampled, own) if own.rollouts.engine == "vllm" and goal.sampled else None,
    )
    probe = Probe(held_out[: own.validate_rows], models.processor, training.max_new_tokens) if held_out and own.validate_every else None
    lines, whole = train(method, models.student, dataset, goal, cast, own, training.log_every, run=run, board=board, probe=probe)
    student = models.student
    if whole and here().is_main_process:
        student = load_models(own, backbone, training.teacher, torch.device("cpu")).student
        student.load_state_dict(whole)
    return student, models.processor, lines


def kept_teacher(goal: Objective, speeds: Sequence[float], rows: Sequence[Row], waves: dict[str, Wave], teacher: Path) -> dict[tuple[str, str], Row]:
    """The teacher's distributions from disk, for a part that wants them there; computes what no earlier run has."""
    for part in goal.parts:
        if isinstance(part.params, CaadParams) and part.params.cached_tokens:
            if len(speeds) > 1:
                raise UserError(
                    "training.caad.cached_tokens", "the teacher is kept for clips at their own speed alone", "Set it to null, or speeds to [1.0]"
                )
            return remembered(rows, waves, paths(part.params), teacher, part.params.cached_tokens)
    return {}


@torch.no_grad()
def spread(teacher: Any, processor: Any, dataset: Curriculum, device: torch.device) -> float:
    """Variance of the teacher's clean audio features over the first clips by id, which no seed moves."""
    firsts = {row["clip_id"]: number for number, row in reversed(list(enumerate(dataset.rows))) if taught(row)}
    features, masks = [], []
    for clip_id in sorted(firsts)[:CALIBRATION_CLIPS]:
        view = {name: tensor.to(device) for name, tensor in dataset.view("clean", firsts[clip_id]).items()}
        with listening(teacher) as heard:
            read(teacher, view)
        token = family_of(processor).audio_id(processor)
        known = unpacked(heard[0], view, token)
        features.append(known[0])
        masks.append(audio_positions(view, token, known.shape[1])[0])
    return feature_variance(pad_sequence(features, batch_first=True), pad_sequence(masks, batch_first=True))


def publish(model: Any, folder: Path) -> None:
    """Write the trained folder beside its place, then put it there whole; only its weights differ from the backbone's."""
    fresh = temporary_name(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    write_model(model, BACKBONE, fresh)
    publish_folder(fresh, folder)
