"""The training stage: the backbone and the curriculum in, models/<method> out."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tasks.backbone.model import save
from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.params import load
from tasks.engines import qwen2_audio as family
from tasks.engines.device import place
from tasks.training import caad, echodistill
from tasks.training.data import Curriculum, clean_turns, clean_waves, schedule, taught, training_rows
from tasks.training.params import TrainingParams
from tasks.training.trainer import train, write_log
from tasks.training.validate import accuracies, validation_rows

BACKBONE = Path("models/backbone")
MODELS = Path("models")
METHODS: dict[str, tuple[Any, str]] = {"echodistill": (echodistill.EchoDistill, echodistill.RESPONSE), "caad": (caad.Caad, caad.RESPONSE)}
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
    if method not in METHODS:
        raise UserError(f"python -m tasks.training {method}".rstrip(), "a method is needed", f"Choose one of: {', '.join(METHODS)}")
    if not (BACKBONE / "config.json").is_file():
        raise UserError(str(BACKBONE), "no backbone here", "Run the backbone stage: python -m tasks.backbone")
    params = load("training", TrainingParams)
    with threads(params.threads):
        return learn(method, params)


def learn(method: str, params: TrainingParams) -> Counts:
    """The run itself, at the number of threads that is set."""
    objective_class, response = METHODS[method]
    own = getattr(params, method)
    rows = training_rows(response)
    order = schedule([row["stage"] for row in rows], own.steps, own.batch_items, own.order, own.seed)
    clean = clean_turns(len(order), own.clean_share, own.seed)
    device, _, reason = place()
    log.info("training %s: %s; %d rows, %d steps of %d items", method, reason, len(rows), own.steps, own.batch_items)
    # Weights and their moments stay in float32: a step of the optimiser is lost in bfloat16's eight bits.
    student, processor = family.load(BACKBONE, device, torch.float32)
    teacher, _ = family.load(BACKBONE, device, torch.float32)
    teacher.requires_grad_(False)
    objective, waves = objective_class(teacher, processor, own), clean_waves(rows)
    if method == "caad":
        objective.remember(rows, waves, BACKBONE)
    dataset = Curriculum(rows, waves, processor, objective.views, response, order, clean, params.cached_views)
    lines = train(method, student, processor.tokenizer.pad_token_id, dataset, objective, own, params.log_every)
    folder = MODELS / method
    publish(student, processor, folder)
    held_out = validation_rows(params.validation_rows)
    models = {"base": BACKBONE, method: folder}
    validation = [{"model": name, "split": "validation", **accuracies(path, held_out, params.max_new_tokens)} for name, path in models.items()]
    for line in validation:
        log.info("training: %s", ", ".join(f"{key} {value}" for key, value in line.items()))
    write_log(folder / "train_log.jsonl", [*lines, *validation])
    return Counts(done={"steps": own.steps, "items": len(set(order)), "untaught": sum(not taught(row) for row in rows)})


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
