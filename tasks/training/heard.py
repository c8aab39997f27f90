"""models/<name>/heard.yaml: the very files that a run read, so that lineage finds what a model heard after its tables are gone.

dvc.lock says the same for the methods of dvc.yaml; a run from a shell (`caad@1`, `grpo`) has this alone. A file is named by its MD5 because
that is its name in DVC's cache.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import StringConstraints

from tasks.common.params import Section, read_yaml, validate
from tasks.common.tables import write_text
from tasks.mix.finish import CATALOG, ROOMS
from tasks.mix.manifest import MANIFEST
from tasks.training.data import CURRICULUM, SPEECH

HEARD = "heard.yaml"
READ = (CURRICULUM, MANIFEST, SPEECH, CATALOG / "noise.parquet", ROOMS)

Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Stated(Section):
    """heard.yaml, as `write_heard` writes it."""

    read: dict[str, dict[str, Md5]]
    models: dict[str, str]
    recipe: dict[str, Any]


def read_heard(folder: Path) -> Stated:
    """heard.yaml of a model, which may come from elsewhere; raises UserError for one that is none."""
    return validate(Stated, read_yaml(folder / HEARD), str(folder / HEARD))


def files_read() -> dict[str, dict[str, str]]:
    """Every file that a training run may read, by what it belongs to and its path below that ("" for a single file), with its MD5."""
    return {str(part): {str(path.relative_to(part)) if path != part else "": md5_of(path) for path in _files(part)} for part in READ}


def write_heard(folder: Path, read: Mapping[str, Mapping[str, str]], models: Mapping[str, str], recipe: Mapping[str, Any]) -> None:
    """Put heard.yaml beside the weights.

    Args:
        folder: of the model.
        read: `files_read`, as of the start of the run.
        models: folders of backbone and teacher, with their revisions.
        recipe: everything else the weights hang on, flat.
    """
    write_text(folder / HEARD, yaml.safe_dump({"read": read, "models": models, "recipe": recipe}, sort_keys=True))


def _files(part: Path) -> list[Path]:
    """Without what a killed writer may have left under a temporary name."""
    found = part.rglob("*") if part.is_dir() else [part]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def md5_of(path: Path) -> str:
    """What DVC names the file by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
