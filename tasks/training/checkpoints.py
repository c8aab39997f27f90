"""Checkpoints of a run: where they lie, when one counts, and whose it is.

A run is known by its recipe: everything its weights hang on. Its checkpoints lie in models/.runs/<method>-<fingerprint of the recipe>, out
of the way of DVC's outputs, until the trained model is published. One counts only when complete: it is written as a draft, its recipe
last, put on disk and then renamed. Whatever a checkpoint of another recipe lies there for, it is never gone on from.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tasks.common.checksums import ChangedError
from tasks.common.errors import UserError, full_disk
from tasks.common.seeds import content_id
from tasks.common.sha256sums import SUMS, check_sums, write_sums
from tasks.common.tables import sync, sync_folder

RUNS = Path("models/.runs")
RECIPE = "recipe.json"
KEPT = 2  # the newest and, should the disk fail it, the one before
Recipe = Mapping[str, Any]
log = logging.getLogger("dinproof")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots, so that a difference has a name."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differences(theirs: Recipe, ours: Recipe) -> str:
    """What differs between two recipes, e.g. `run.steps: 300 there, 450 here`."""
    keys = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    return "; ".join(f"{key}: {theirs.get(key)} there, {ours.get(key)} here" for key in keys)


@contextmanager
def on_disk(where: Path, what: str, todo: str) -> Iterator[None]:
    """Raises UserError where a write in the block fails; torch says RuntimeError when the disk is full, safetensors an error of its own."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = full_disk(error)
        reason = full.what if full else str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(str(where), f"{what} could not be written ({reason})", todo) from error


@dataclass(frozen=True)
class Run:
    """The checkpoints of one run.

    Args:
        method: what is trained.
        recipe: everything the weights hang on, flat, of JSON values.
        root: where runs lie.
    """

    method: str
    recipe: Recipe
    root: Path = RUNS

    @property
    def folder(self) -> Path:
        """Of this run's checkpoints."""
        return self.root / f"{self.method}-{content_id(self.recipe)[:12]}"

    @property
    def draft(self) -> Path:
        """Where a checkpoint is written before it counts."""
        return self.folder / ".draft"

    def newest(self) -> Path | None:
        """The newest complete checkpoint, to go on from; one that is not what was written is passed over, and the log says so.

        Raises UserError where this run's folder holds one of another recipe.
        """
        found = [path for path in complete(self.folder) if _sound(path)]
        for path in found:
            if (theirs := json.loads((path / RECIPE).read_text(encoding="utf-8"))) != self.recipe:
                raise UserError(str(path), f"a checkpoint of another run ({differences(theirs, self.recipe)})", "Delete it, or put it back")
        return found[-1] if found else None

    def others(self) -> list[str]:
        """A line for each unfinished run of the same method by another recipe: where it stands and what differs."""
        lines = []
        for folder in sorted(self.root.glob(f"{self.method}-*")):
            if folder != self.folder and (found := complete(folder)):
                theirs = json.loads((found[-1] / RECIPE).read_text(encoding="utf-8"))
                lines.append(f"{found[-1]}: left alone, it is of another run ({differences(theirs, self.recipe)})")
        return lines

    def saved(self, step: int) -> str:
        """What a run that stops now goes on from."""
        found = complete(self.folder)
        return f"step {step_of(found[-1])}" if found and step_of(found[-1]) < step else "the start"

    @contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Around all that writes the checkpoint of `step`; raises UserError where the disk is full, the checkpoints before it intact."""
        todo = f"Free space there and run the same command: it goes on from {self.saved(step)}"
        try:
            with on_disk(self.folder, f"the checkpoint of step {step}", todo):
                yield
        except UserError:
            shutil.rmtree(self.draft, ignore_errors=True)
            raise

    def start_draft(self) -> None:
        """An empty draft, whatever a killed run left there."""
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True)

    def finish_draft(self, step: int) -> None:
        """Put the draft on disk, its recipe last, and rename it to the checkpoint it now is; the oldest beyond `KEPT` go."""
        written, final = self.draft / name_of(step), self.folder / name_of(step)
        sync_folder(written)
        (written / RECIPE).write_text(json.dumps(self.recipe, indent=1, sort_keys=True), encoding="utf-8")
        write_sums(written)
        for path in (written / RECIPE, written / SUMS, written):
            sync(path)
        shutil.rmtree(final, ignore_errors=True)
        written.replace(final)
        sync(self.folder)
        for old in complete(self.folder)[:-KEPT]:
            shutil.rmtree(old)

    def remove(self) -> None:
        """Forget the run: its model is published."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()


def _sound(checkpoint: Path) -> bool:
    try:
        check_sums(checkpoint)
    except ChangedError as error:
        log.warning("%s: %s. It is left alone: the run goes on from the checkpoint before, or from the start", error.where, error.what)
        return False
    return True


def name_of(step: int) -> str:
    """As the Trainer names checkpoints."""
    return f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def complete(folder: Path) -> list[Path]:
    """Checkpoints of a folder that count, oldest first."""
    return sorted((path for path in folder.glob("checkpoint-*") if (path / RECIPE).is_file()), key=step_of)
