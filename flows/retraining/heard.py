"""The last model of a method and the curriculum it has heard, from dvc.lock, DVC's cache and the lineage of a retrained model."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from flows.graph import Stage
from tasks.common.errors import UserError
from tasks.retrain.learn import LINEAGE, Job, retrained
from tasks.training.data import CURRICULUM
from tasks.training.stage import BACKBONE, MODELS
from tasks.training.validate import VALIDATION

DVC_LOCK = Path("dvc.lock")
# What it takes to know which recordings are in a curriculum, long after they are gone.
TRACED = (CURRICULUM, Path("data/mixtures_manifest.parquet"), Path("data/rooms"), Path("data/catalog"))
Traced = dict[str, str]


@dataclass(frozen=True)
class Last:
    """The model that goes on.

    Attributes:
        folder: models/<method>.retrained, or models/<method> where there is none, or one that went on from another models/<method>.
        scratch: DVC's hash of the models/<method> that all goes back to.
        curricula: the curricula heard, the last one last: DVC's hashes of each and of the tables that tell what is in it, by path.
        backbone: DVC's hash of the backbone it was trained from.
        retrainings: what made it of models/<method>: outcome and settings of each, the last one last.
    """

    method: str
    folder: Path
    scratch: str
    curricula: tuple[Traced, ...]
    backbone: str
    retrainings: tuple[dict[str, Any], ...] = ()

    def heard(self) -> str:
        """DVC's hash of the curriculum heard last."""
        return self.curricula[-1][str(CURRICULUM)]


def lock() -> dict[str, Any]:
    """The stages of dvc.lock."""
    stages: dict[str, Any] = (yaml.safe_load(DVC_LOCK.read_text(encoding="utf-8")) or {}).get("stages", {}) if DVC_LOCK.exists() else {}
    return stages


def recorded(stage: dict[str, Any], kind: str, path: Path) -> str:
    """DVC's hash of a dependency (`deps`) or an output (`outs`) of a stage of dvc.lock; empty where there is none."""
    return next((str(entry["md5"]) for entry in stage.get(kind, []) if entry["path"] == path.as_posix()), "")


def last_model(stage: Stage) -> Last:
    """The model a method goes on from. Raises UserError where it was never trained, or is not the one that dvc.lock records."""
    method, entry = stage.args[0], lock().get(stage.name, {})
    folder, final = MODELS / method, retrained(method)
    scratch = recorded(entry, "outs", folder)
    if not scratch or not (folder / "config.json").is_file():
        raise UserError(str(folder), "no model that dvc.lock records, so there is none to go on from", "Train it once: make curriculum")
    changed = [
        out
        for reason in Repo().status(targets=[stage.name]).get(stage.name, [])
        if isinstance(reason, dict)
        for out in reason.get("changed outs", {})
    ]
    if changed:
        raise UserError(
            str(folder), "not the model that dvc.lock records, so what it has heard is unknown", f"dvc checkout {folder}, or make curriculum"
        )
    backbone = recorded(entry, "deps", BACKBONE)
    if (final / LINEAGE).is_file():
        known = yaml.safe_load((final / LINEAGE).read_text(encoding="utf-8"))
        if known["scratch"] == scratch:
            return Last(method, final, scratch, tuple(known["curricula"]), backbone, tuple(known["retrainings"]))
    return Last(method, folder, scratch, (traced([entry], "deps"),), backbone)


def traced(stages: Iterable[dict[str, Any]], kind: str) -> Traced:
    """DVC's hashes of a curriculum and of the tables that tell what is in it, by path, from what some stages read (`deps`) or made (`outs`)."""
    entries = [entry for stage in stages for entry in stage.get(kind, [])]
    return {entry["path"]: entry["md5"] for entry in entries if any(Path(entry["path"]).is_relative_to(path) for path in TRACED)}


def cached(oid: str) -> dict[str, Path]:
    """The files of a folder in DVC's cache, by path inside it. Raises UserError where they are no longer there."""
    store = Repo().cache.local
    try:
        listed = json.loads(Path(store.oid_to_path(oid)).read_text(encoding="utf-8"))
    except FileNotFoundError:
        listed = None
    files = {entry["relpath"]: Path(store.oid_to_path(entry["md5"])) for entry in listed or []}
    if listed is None or not all(path.is_file() for path in files.values()):
        todo = "dvc fetch, where a remote has it; else make curriculum trains from scratch"
        raise UserError("DVC's cache", f"the curriculum that the last model has heard is gone ({oid})", todo)
    return files


def current() -> Traced:
    """The curriculum as the last build made it."""
    return traced(lock().values(), "outs")


def job_of(last: Last) -> Job:
    """What retraining a method takes; its lineage holds dvc.lock, and with it the hash of every corpus, catalog, parameter and stage's code."""
    stages = lock()
    if recorded(stages.get("backbone", {}), "outs", BACKBONE) != last.backbone:
        what = f"{last.folder} was trained from another backbone, so its teacher is not today's"
        raise UserError(str(BACKBONE), what, "Speech, questions or the backbone changed, not noise alone: make curriculum trains from scratch")
    files = cached(last.heard())
    train = tuple(path for name, path in sorted(files.items()) if name.startswith("train/"))
    now = current()
    lineage = {
        "method": last.method,
        "from": str(last.folder),
        "scratch": last.scratch,
        "curricula": [*last.curricula, *([now] if now[str(CURRICULUM)] != last.heard() else [])],
        "retrainings": list(last.retrainings),
        "lock": {name: entry for name, entry in stages.items() if not name.startswith("train@") or name == f"train@{last.method}"},
    }
    validation = tuple(path for name, path in files.items() if name == VALIDATION.relative_to(CURRICULUM).as_posix())
    return Job(last.method, last.folder, train, validation, lineage)
