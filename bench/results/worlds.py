"""Worlds: what a method is trained on and asked about. A comparison may bring its own, made from a built folder."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from tasks.common.audio import Wave, decode
from tasks.common.seeds import content_id
from tasks.common.tables import read_rows
from tasks.engines import Request, model_revision
from tasks.items.prompt import text_only
from tasks.training.data import COLUMNS, CURRICULUM, Row, clean_waves

KINDS = ("noisy", "clean", "text")


@dataclass(frozen=True)
class Question:
    """A held-out question put to a model in one way.

    Args:
        row: its row of the curriculum.
        kind: `noisy`, `clean` (the same clip without noise), `text` (the transcript in its place), or a world's own.
        request: what the model is given.
    """

    row: Row
    kind: str
    request: Request


@dataclass(frozen=True)
class World:
    """What a run is made of. Paths are relative to `folder`, where a job runs.

    Args:
        name: as in the tables.
        rows: training rows that clean audio answers, and those about the noise.
        waves: clean audio by clip_id.
        held_out: rows of `validation` and `test` that clean audio answers; conflict items are left out.
        backbone: the student's start.
        teacher: the frozen teacher.
        ways: how a held-out row is put to a model, by kind; None where it is not put so.
    """

    name: str
    rows: Sequence[Row]
    waves: dict[str, Wave]
    held_out: dict[str, list[Row]]
    backbone: Path = Path("models/backbone")
    teacher: Path = Path("models/backbone")
    ways: dict[str, Callable[[Row, dict[str, Wave]], Request | None]] = field(default_factory=dict)

    def questions(self, split: str, kinds: Sequence[str]) -> list[Question]:
        """Every held-out question of a split in every way asked for."""
        asked = ((row, kind, self.ways[kind](row, self.waves)) for kind in kinds for row in self.held_out[split])
        return [Question(row, kind, request) for row, kind, request in asked if request is not None]

    def fingerprint(self) -> str:
        """Changes where the models, the rows or their prompts change."""
        rows = [[row["mixture_id"], row["item_id"], row["prompt"], row["pseudo_gt_token_ids"], row["reference_token_ids"]] for row in self.rows]
        held = [[row["mixture_id"], row["item_id"], row["prompt"]] for rows in self.held_out.values() for row in rows]
        return content_id([rows, held, model_revision(self.backbone), model_revision(self.teacher)])


def noisy(row: Row, waves: dict[str, Wave]) -> Request:
    """The mixture."""
    return Request(row["prompt"], decode(row["audio"]["bytes"])[0])


def clean(row: Row, waves: dict[str, Wave]) -> Request:
    """The clip without noise or room."""
    return Request(row["prompt"], waves[row["clip_id"]])


def text(row: Row, waves: dict[str, Wave]) -> Request:
    """The transcript in place of the audio."""
    return Request(text_only(row["transcript"], row["prompt"]), None)


def answerable(path: Path) -> list[Row]:
    """Held-out rows that clean audio answers, by id; conflict items measure whom a model trusts and are left out."""
    rows = [row for row in read_rows(path, COLUMNS) if row["reference_token_ids"] and row["task"] != "conflict"]
    return sorted(rows, key=lambda row: (row["mixture_id"], row["item_id"]))


def made_once(place: Path, make: Callable[[Path], None]) -> Path:
    """`place`, which `make` fills unless it is there; whole or not at all, should two processes do so at once."""
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        make(fresh)
        with suppress(OSError):  # the other process was first
            fresh.replace(place)
        shutil.rmtree(fresh, ignore_errors=True)
    return place


@lru_cache(1)
def built(name: str) -> World:
    """The world of the built folder this process stands in."""
    rows = sorted(read_rows(CURRICULUM / "train", [*COLUMNS, "student_correct"]), key=lambda row: (row["mixture_id"], row["item_id"]))
    held_out = {split: answerable(CURRICULUM / "heldout" / f"{split}.parquet") for split in ("validation", "test")}
    waves = clean_waves([*rows, *held_out["validation"], *held_out["test"]])
    return World(name, rows, waves, held_out, ways={"noisy": noisy, "clean": clean, "text": text})


def with_models(world: World, name: str, backbone: Path, teacher: Path | None = None) -> World:
    """The same questions with other models."""
    return replace(world, name=name, backbone=backbone, teacher=teacher or backbone)
