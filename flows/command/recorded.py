"""What dvc.lock records of the stages that made the models: their settings, and the very bytes they read, from DVC's cache.

A model is older than the tables beside it as soon as something upstream is built again; DVC keeps what it was trained on.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.build import build

from tasks.common.errors import UserError
from tasks.common.params import read_yaml
from tasks.engines.base import model_revision
from tasks.lineage.edges import Heard, edges
from tasks.lineage.trace import untraced
from tasks.training.heard import HEARD, md5_of, read_heard

LOCK = Path("dvc.lock")
NEEDED = (
    "data/curriculum",
    "data/catalog/",
    "data/rooms",
    "data/mixtures_manifest.parquet",
    "models/",
)  # what lineage reads of a stage's dependencies


def recorded_lineage() -> tuple[pa.Table, list[Heard], list[str]]:
    """The edges of tasks.lineage for the working folder, its models, and what is not known, one line each. Raises UserError without a build."""
    models, unknown = recorded_models()
    lineage = edges(Path("data"), models)
    unknown += [f"{model}: {count} mixtures it heard are in no manifest that is left" for model, count in untraced(lineage).items()]
    return lineage, models, unknown


def recorded_models() -> tuple[list[Heard], list[str]]:
    """The models of dvc.lock, and what is not known of models that are here, one line each. Raises UserError without dvc.lock or dvc.yaml."""
    if not LOCK.is_file():
        raise UserError(str(LOCK), "no such file: nothing was built here", "Run make curriculum or dvc repro from the project's root")
    try:
        repo = Repo()
    except DvcException as error:
        raise UserError("dvc.yaml", str(error).strip().replace("\n", " "), "Run from the project's root") from None
    models: list[Heard] = []
    unknown: list[str] = []
    for stage in read_yaml(LOCK)["stages"].values():
        for out in stage.get("outs", []):
            folder = out["path"]
            if not folder.startswith("models/"):
                continue
            heard, missing = _heard(repo, folder, stage)
            models.append(heard)
            unknown += [f"{folder}: {path}, which it was made from, is neither here nor in DVC's cache; try dvc fetch" for path in missing]
            if Path(folder).exists() and not _holds(repo, folder, out["md5"]):
                unknown.append(f"{folder}: is not what dvc.lock records; what is said here holds for the recorded one")
    for path in sorted(Path("models").glob("*/lineage.yaml")):
        again, missing = _retrained(repo, path.parent, read_yaml(path), read_yaml(LOCK)["stages"])
        models += again
        unknown += [f"{path.parent}: {name}, which it was made from, is no longer in DVC's cache; try dvc fetch" for name in missing]
    for path in sorted(Path("models").glob(f"*/{HEARD}")):
        if str(path.parent) not in {model.folder for model in models}:
            heard, missing = _from_a_shell(repo, path.parent)
            models.append(heard)
            unknown += [f"{path.parent}: {name}" for name in missing]
    for path in sorted(Path("models").glob("*/train_log.jsonl")):
        if runs := _averaged(path):
            known = {model.folder for model in models}
            models.append(Heard(str(path.parent), "tasks.training.average", {run: {} for run in runs}))
            unknown += [f"{path.parent}: {run}, of which it is a mean, was made by no stage of dvc.lock" for run in runs if run not in known]
    recorded = {Path(model.folder) for model in models}
    found = {path.parent for path in Path("models").glob("**/config.json")}
    unknown += [f"{path}: no stage of dvc.lock made it" for path in sorted(found) if not recorded & {path, *path.parents}]
    return sorted(models, key=lambda model: model.folder), unknown


def _heard(repo: Repo, folder: str, stage: dict[str, Any]) -> tuple[Heard, list[str]]:
    read: dict[str, dict[str, Path]] = {}
    missing: list[str] = []
    code: dict[str, str] = {}
    for dependency in stage.get("deps", []):
        path, md5 = dependency["path"], dependency["md5"]
        if path.startswith("tasks/"):
            code[path] = md5.removesuffix(".dir")
        elif path.startswith("models/"):
            read[path] = {}
        elif path.startswith(NEEDED):
            files = _files(repo, path, md5)
            read[path] = files or {}
            if files is None:
                missing.append(path)
    parameters = {f"{file} {key}": value for file, values in stage.get("params", {}).items() for key, value in _leaves(values)}
    return Heard(folder, shlex.split(stage["cmd"])[2], read, parameters, code), missing


def _retrained(repo: Repo, folder: Path, known: dict[str, Any], stages: dict[str, Any]) -> tuple[list[Heard], list[str]]:
    """A model of flows.retrain, by what it keeps beside its weights: once for each curriculum it has heard, the first of them its start's."""
    method = known["method"]
    heard, missing = _heard(repo, str(folder), known["lock"][f"train@{method}"])
    models: dict[str, Mapping[str, Path]] = {path: files for path, files in heard.read.items() if path.startswith("models/")}
    if any(out["path"] == f"models/{method}" and out["md5"] == known["scratch"] for out in stages.get(f"train@{method}", {}).get("outs", [])):
        models[f"models/{method}"] = {}
    settings = {f"{folder}/lineage.yaml {key}": value for key, value in _leaves({"retrainings": dict(enumerate(known["retrainings"]))})}
    found = [heard]
    for number, curriculum in enumerate(known["curricula"], 1):
        read = dict(models)
        for path, md5 in curriculum.items():
            files = _files(repo, path, md5)
            if files is None:
                missing.append(f"{path} of curriculum {number}")
            elif path == "data/catalog":
                read |= {f"{path}/{name}": {"": file} for name, file in files.items() if "/" not in name}
            else:
                read[path] = files
        found.append(Heard(str(folder), heard.module, read, settings))
    return found, list(dict.fromkeys(missing))


def _from_a_shell(repo: Repo, folder: Path) -> tuple[Heard, list[str]]:
    """A run that no stage of dvc.lock made, by what it keeps beside its weights, and what of that is no longer known."""
    known = read_heard(folder)
    read: dict[str, dict[str, Path]] = {}
    missing: list[str] = []
    for part, files in known.read.items():
        found = {name: _file(repo, Path(part, name), md5) for name, md5 in files.items()}
        read[part] = {name: path for name, path in found.items() if path is not None}
        if len(read[part]) < len(found):
            missing.append(f"{part}, which it was made from, is neither here nor in DVC's cache; try dvc fetch")
    for model, revision in known.models.items():
        read[model] = {}
        if not (Path(model) / "config.json").is_file() or model_revision(Path(model)) != revision:
            missing.append(f"{model}, which it started from or was taught by, is another one now")
    settings = {f"{folder}/{HEARD} {name}": value for name, value in known.recipe.items()}
    return Heard(str(folder), "tasks.training", read, settings), missing


def _file(repo: Repo, path: Path, md5: str) -> Path | None:
    """A file as it was: from the cache, or where the workspace still holds the same."""
    cached = Path(repo.cache.local.oid_to_path(md5))
    return cached if cached.is_file() else path if path.is_file() and md5_of(path) == md5 else None


def _averaged(log: Path) -> list[str]:
    """The folders whose mean the model of a train_log.jsonl is, by tasks.training.average; none for one that was trained."""
    with log.open(encoding="utf-8") as lines:
        first = lines.readline().strip()
    return [f"models/{run}" for run in (json.loads(first) if first else {}).get("mean_of", [])]


def _files(repo: Repo, path: str, md5: str) -> dict[str, Path] | None:
    """The files of a dependency as they were, by their path below it ("" for a file): from the cache, or where the workspace still holds the same."""

    def cached(oid: str) -> Path:
        return Path(repo.cache.local.oid_to_path(oid))

    if cached(md5).is_file():
        listed = {entry["relpath"]: entry["md5"] for entry in json.loads(cached(md5).read_text())} if md5.endswith(".dir") else {"": md5}
        if all(cached(oid).is_file() for oid in listed.values()):
            return {name: cached(oid) for name, oid in listed.items()}
    if not Path(path).exists() or not _holds(repo, path, md5):
        return None
    if Path(path).is_file():
        return {"": Path(path)}
    return {str(file.relative_to(path)): file for file in sorted(Path(path).rglob("*")) if file.is_file()}


def _holds(repo: Repo, path: str, md5: str) -> bool:
    """Whether a file or folder of the workspace has the hash that dvc.lock records."""
    _, _, found = build(repo.cache.local, str(Path(path).absolute()), repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)
    return bool(found.hash_info.value == md5)


def _leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`training.caad.alpha` and its value, for every leaf of a nest of mappings."""
    leaves: list[tuple[str, Any]] = []
    for key, value in values.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return leaves
