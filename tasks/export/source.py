"""What is exported: the curriculum of a built folder, part by part and row by row, never more than one row group at a time."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import soundfile as sf

from tasks.common.audio import RATE
from tasks.common.checksums import CheckedFile
from tasks.common.errors import UserError
from tasks.common.tables import read_rows
from tasks.curriculum.dataset import SCHEMA

Row = dict[str, Any]

CURRICULUM = Path("data/curriculum")
SPEECH = Path("data/catalog/speech.parquet")
MANIFEST = Path("data/mixtures_manifest.parquet")
CORPORA = Path("data/catalog/corpora.parquet")
FOLDERS = {"train": ("train",), "heldout": ("heldout",), "all": ("train", "heldout")}
BUILD = "Build it first: make curriculum, or dvc repro curriculum"
# Token ids and their log-probabilities mean nothing without the one tokenizer they come from.
FIELDS = [name for name in SCHEMA.names if name not in ("audio", "sampling_rate") and "_token_" not in name]
BATCH = 64  # rows decoded at once: 2 MB of audio at 2 s, 10 MB at 10 s
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Part:
    """A file of the curriculum, and the folder that holds it in an export."""

    file: Path
    rows: int

    @property
    def path(self) -> str:
        """`train/1-easy`, `heldout/test`."""
        return f"{self.file.parent.name}/{self.file.stem}"

    @property
    def split(self) -> str:
        """`train`, `validation` or `test`."""
        return "train" if self.file.parent.name == "train" else self.file.stem


def parts_of(split: str) -> list[Part]:
    """The parts of a split that hold a row, stages in order; `split` is a key of FOLDERS.

    Raises UserError where there is no curriculum, where a file of it cannot be read or lacks columns, and where all of the split is empty.
    """
    files = [file for folder in FOLDERS[split] for file in sorted((CURRICULUM / folder).glob("*.parquet"))]
    if not files:
        raise UserError(str(CURRICULUM), "no curriculum here", BUILD)
    for needed in (SPEECH, MANIFEST, CORPORA):
        if not needed.is_file():
            raise UserError(str(needed), "no such file, and an export needs it", BUILD)
    parts = []
    for file in files:
        try:
            found = CheckedFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(str(file), f"not a readable Parquet file ({str(error).splitlines()[0]})", BUILD) from None
        missing = [name for name in SCHEMA.names if name not in found.schema_arrow.names]
        if missing:
            raise UserError(str(file), f"lacks the columns {', '.join(missing)}", "Build it again: dvc repro curriculum")
        if found.metadata.num_rows:
            parts.append(Part(file, found.metadata.num_rows))
    if not parts:
        raise UserError(f"--split {split}", "no questions in it", "See data/curriculum/excluded.parquet for what was left out, and why")
    return parts


def voices() -> dict[str, Row]:
    """`clip_id`, `corpus`, `speaker` and `text` (what is said) of every speech clip, by its id."""
    return {row["clip_id"]: row for row in read_rows(SPEECH, ["clip_id", "corpus", "speaker", "text"])}


def rows_of(part: Part, speech: dict[str, Row]) -> Iterator[Row]:
    """The rows of a part in the curriculum's order: all questions about a mixture follow each other.

    A row has the columns of the curriculum, `audio` being the bytes of its FLAC file, and the `corpus`, `speaker` and `text` of its speech clip (what
    is said, whatever the question is about; each may be None), `samples` and `duration_s`. Raises UserError for an id that is no file name.
    """
    mixture, samples = "", 0
    with CheckedFile(part.file) as file:
        for row in (row for batch in file.iter_batches(BATCH, SCHEMA.names) for row in batch.to_pylist()):
            for name in ("mixture_id", "item_id", "clip_id"):
                if not _ID.fullmatch(row[name] or ""):
                    raise UserError(str(part.file), f"{name} is {row[name]!r}, not 16 hex digits", "Build it again: dvc repro curriculum")
            audio = row["audio"]["bytes"]
            if row["mixture_id"] != mixture:
                mixture, samples = row["mixture_id"], sf.info(io.BytesIO(audio)).frames
            said = speech.get(row["clip_id"], {})
            known = {name: said.get(name) for name in ("corpus", "speaker", "text")}
            yield {**row, **known, "audio": audio, "samples": samples, "duration_s": samples / RATE}


def fields_of(row: Row) -> Row:
    """What every form carries beside the audio: the columns FIELDS, the speaker and what is said."""
    return {name: row[name] for name in (*FIELDS, "speaker", "text")}


def key_of(row: Row) -> str:
    """Names a row in every form: `<mixture_id>-<item_id>`."""
    return f"{row['mixture_id']}-{row['item_id']}"
