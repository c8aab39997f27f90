"""What earlier runs found, kept in data/catalog/memo under names that hash everything it follows from, this code included.

So a corpus that did not change is hashed, not decoded again. The folder may be deleted at any time.
"""

import functools
import json
from pathlib import Path
from typing import Any

import soundfile as sf

from tasks.common import audio
from tasks.common.seeds import content_id, file_sha256, folder_revision
from tasks.common.tables import write_text

FOLDER = Path("data/catalog/memo")


def name_of(corpus: str, recipe: Any) -> str:
    """The name under which the result of a recipe (any JSON value) is kept."""
    return f"{corpus}-{content_id([_revision(), recipe])}.json"


def recall(name: str) -> Any:
    """What is kept under a name, or None."""
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def keep(name: str, value: Any) -> None:
    """Keep a JSON value; floats come back to the bit."""
    write_text(FOLDER / name, json.dumps(value, sort_keys=True))


@functools.cache
def _revision() -> str:
    """Of everything besides the recipe that decides a result: this package, the audio policy and the decoder."""
    return content_id([folder_revision(Path(__file__).parent, ["*.py"]), file_sha256(Path(audio.__file__)), sf.__libsndfile_version__])
