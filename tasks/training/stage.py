"""The training stage: the backbone and the curriculum in, models/<method> out."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tasks.backbone.model import save
from tasks.common.audio import Wave
from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.engines import qwen2_audio as family
from tasks.engines.device import place
from tasks.training.caad import paths
from tasks.training.cached_teacher import remembered
from tasks.training.data import Curriculum, Row, clean_turns, clean_waves, schedule, taught, training_rows
from tasks.training.methods import Objective, objective
from tasks.training.objectives import feature_variance
from tasks.training.params import CaadParams, RunParams, TrainingParams, run_params, training_params
from tasks.training.passes import Cast, Figures
from tasks.training.scoring import audio_positions, listening, read
from tasks.training.trainer import train, write_log
from tasks.training.validate import accuracies, validation_rows

BACKBONE = Path("models/backbone")
MODELS = Path("models")
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


def run(method: str = "") -> Counts:
    """Train one method from the backbone and write models/<method>. Raises UserError for an unknown method or missing inputs."""
    training = training_params()
    own = run_params(training, method)
    for folder in (BACKBONE, training.teacher):
        if not (folder / "config.json").is_file():
            raise UserError(str(folder), "no model here", "Run the backbone stage: python -m tasks.backbone")
    with threads(training.threads):
        rows = training_rows(objective(training, method, own).responses)
        student, processor, lines = fit(method, own, training, rows, clean_waves(rows), BACKBONE)
        folder = MODELS / method
        publish(student, processor, folder)
        held_out = validation_rows(training.validation_rows)
        models = {"base": BACKBONE, method: folder}
        validation = [{"model": name, "split": "validation", **accuracies(path, held_out, training.max_new_tokens)} for name, path in models.items()]
    for line in validation:
        log.info("training: %s", ", ".join(f"{key} {value}" for key, value in line.items()))
    write_log(folder / "train_log.jsonl", [*lines, *validation])
    return Counts(done={"steps": own.steps, "items": len(rows), "untaught": sum(not taught(row) for row in rows)})


def fit(
    method: str, own: RunParams, training: TrainingParams, rows: Sequence[Row], waves: dict[str, Wave], backbone: Path
) -> tuple[Any, Any, list[Figures]]:
    """Train `backbone` on `rows` (with their clean audio by clip_id): the student, its processor, and the lines of its log."""
    goal = objective(training, method, own)
    order = schedule([row["stage"] for row in rows], own.steps, own.batch_items, own.order, own.seed)
    clean = clean_turns(len(order), own.clean_share, own.seed)
    device, _, reason = place()
    log.info("training %s: %s; %d rows, %d steps of %d items", method, reason, len(rows), own.steps, own.batch_items)
    # Weights and their moments stay in float32: a step of the optimiser is lost in bfloat16's eight bits.
    student, processor = family.load(backbone, device, torch.float32)
    teacher, _ = family.load(training.teacher, device, torch.float32)
    teacher.requires_grad_(False)
    dataset = Curriculum(rows, waves, processor, goal.views, order, clean, training.cached_views)
    cast = Cast(
        teacher,
        processor,
        own.rollouts,
        own.seed,
        feature_variance=spread(teacher, processor, dataset, device) if goal.lambda_features else 1.0,
        kept=kept_teacher(goal, rows, waves, training.teacher),
    )
    lines = train(method, student, dataset, goal, cast, own, training.log_every)
    return student, processor, lines


def kept_teacher(goal: Objective, rows: Sequence[Row], waves: dict[str, Wave], teacher: Path) -> dict[tuple[str, str], Row]:
    """The teacher's distributions from disk, for a part that wants them there; computes what no earlier run has."""
    for part in goal.parts:
        if isinstance(part.params, CaadParams) and part.params.cached_tokens:
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
        features.append(heard[0])
        masks.append(audio_positions(view, processor.audio_token_id, heard[0].shape[1]))
    return feature_variance(torch.cat(features), torch.cat(masks))


def publish(model: Any, processor: Any, folder: Path) -> None:
    """Write the trained folder beside its place, then put it there whole; only its weights differ from the backbone's."""
    fresh = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    save(model, processor, fresh)
    for path in fresh.iterdir():
        # Training leaves its marks on configurations: no cache, padding on the left.
        if not path.name.startswith("model") and (BACKBONE / path.name).is_file():
            shutil.copyfile(BACKBONE / path.name, path)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)
