"""How right a model is on the validation split, noisy and clean: what settings are chosen by, before any test item is seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.common.audio import Wave, decode
from tasks.common.errors import UserError
from tasks.common.tables import read_rows
from tasks.engines import Request, load_generator
from tasks.items.answers import parse_answer
from tasks.training.data import CURRICULUM, Row, clean_waves

VALIDATION = CURRICULUM / "heldout" / "validation.parquet"
COLUMNS = ["mixture_id", "item_id", "clip_id", "task", "prompt", "options", "answer", "audio", "reference_token_ids"]


def validation_rows(limit: int) -> list[Row]:
    """The first `limit` rows by id (ids are hashes, so that is a random sample) of questions that clean audio answers too.

    Conflict items are left out: they measure whom a model trusts, not what it understands. Raises UserError where no row is left.
    """
    rows = [row for row in read_rows(VALIDATION, COLUMNS) if row["reference_token_ids"] is not None and row["task"] != "conflict"]
    if not rows:
        raise UserError(str(VALIDATION), "no row with a clean reference", "Run the curriculum stage on a validation split that has speech")
    return sorted(rows, key=lambda row: (row["mixture_id"], row["item_id"]))[:limit]


def accuracies(folder: Path, rows: Sequence[Row], max_new_tokens: int) -> dict[str, Any]:
    """`n`, and `acc_noisy` and `acc_clean` of the folder's greedy answers. Raises AudioRefused for a clip longer than the model's window."""
    generator = load_generator("transformers", folder)
    clean = clean_waves(rows)

    def share(waves: Sequence[Wave]) -> float:
        requests = [Request(row["prompt"], wave) for row, wave in zip(rows, waves, strict=True)]
        answers = generator.generate(requests, max_new_tokens=max_new_tokens)
        right = [parse_answer(found[0].text, row["options"]) == row["answer"] for row, found in zip(rows, answers, strict=True)]
        return round(sum(right) / len(right), 4)

    noisy = [decode(row["audio"]["bytes"])[0] for row in rows]
    return {"n": len(rows), "acc_noisy": share(noisy), "acc_clean": share([clean[row["clip_id"]] for row in rows])}
