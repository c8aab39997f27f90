"""The curriculum as training batches: what the student hears, what the teacher hears, and the response both are forced along.

A view is one way of putting an item to a model: the prompt with the noisy audio, with the clean audio, with silence, or
without audio. The student gets the noisy view, and now and then the clean one, so that it keeps what it could do. The
processor makes a view once and it is kept, because a run returns to an item several times.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from tasks.catalog.audio import load_clips
from tasks.common.audio import Wave, decode
from tasks.common.errors import UserError
from tasks.common.seeds import rng_of
from tasks.common.tables import read_rows
from tasks.engines import qwen2_audio as family
from tasks.engines import refusal

CURRICULUM = Path("data/curriculum")
SPEECH = Path("data/catalog/speech.parquet")
COLUMNS = ("mixture_id", "item_id", "clip_id", "stage", "prompt", "options", "answer", "audio", "reference_correct")

Row = dict[str, Any]
View = dict[str, Tensor]


def training_rows(response: str, folder: Path = CURRICULUM / "train") -> list[Row]:
    """Rows of the curriculum whose response of that kind (`reference` or `pseudo_gt`) is there, in an order of their own.

    Background items have no clean reference, so they are CAAD's alone. Raises UserError where no row is left.
    """
    ids = f"{response}_token_ids"
    rows = read_rows(folder, columns=list(dict.fromkeys([*COLUMNS, "reference_token_ids", ids])))
    usable = [row for row in rows if row[ids]]
    if not usable:
        raise UserError(str(folder), f"no row has {ids}", "Run the curriculum stage, or loosen its selection")
    return sorted(usable, key=lambda row: (row["mixture_id"], row["item_id"]))


def clean_waves(rows: Sequence[Row]) -> dict[str, Wave]:
    """Clean audio, 16 kHz mono, of every speech clip in `rows`, by clip_id."""
    wanted = {row["clip_id"] for row in rows}
    return load_clips([clip for clip in read_rows(SPEECH) if clip["clip_id"] in wanted])


def schedule(stages: Sequence[Any], steps: int, batch: int, order: str, *seed: Any) -> list[int]:
    """Row numbers to train on, `steps * batch` of them: the stages in rising order, an equal share of the steps each.

    Within a stage's share, rows are drawn from that stage (`sequential`) or from it and all easier ones (`cumulative`),
    every row once before any comes again.
    """
    levels = sorted(set(stages))
    chosen: list[int] = []
    for number, level in enumerate(levels):
        pool = [i for i, stage in enumerate(stages) if stage == level or (order == "cumulative" and stage < level)]
        rng, target = rng_of("schedule", level, *seed), steps * (number + 1) // len(levels) * batch
        while len(chosen) < target:
            chosen += rng.permutation(pool)[: target - len(chosen)].tolist()
    return chosen


def clean_turns(count: int, share: float, *seed: Any) -> list[bool]:
    """Which of `count` examples the student hears clean: each with probability `share`."""
    turns: list[bool] = (rng_of("clean turns", *seed).random(count) < share).tolist()
    return turns


class Curriculum(Dataset[dict[str, Any]]):
    """The items of a run in the order they are learnt; item i is example number i of the run, not of the table.

    Args:
        rows: curriculum rows.
        waves: clean audio by clip_id.
        processor: the backbone's.
        views: which views a batch has beside the student's, of `noisy`, `clean`, `silence`, `drop_audio`.
        response: `reference` or `pseudo_gt`.
        order: row numbers, from `schedule`.
        clean: whether the student hears the clean clip, for each place in `order`; a row without a clean teacher stays noisy.
        cached_views: processor outputs to keep; a 2 s one takes about 65 kB.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        waves: dict[str, Wave],
        processor: Any,
        views: Sequence[str],
        response: str,
        order: Sequence[int],
        clean: Sequence[bool],
        cached_views: int,
    ) -> None:
        self.rows, self.waves, self.processor, self.views, self.response = rows, waves, processor, views, response
        self.order, self.clean = order, clean
        self.view: Callable[[str, int], View] = lru_cache(cached_views)(self._view)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        number = self.order[position]
        row = self.rows[number]
        return {
            "student": self.view("clean" if self.clean[position] and taught(row) else "noisy", number),
            **{name: self.view(name, number) for name in self.views},
            "response": torch.tensor(row[f"{self.response}_token_ids"]),
            "taught": taught(row),
            "trusted": bool(row["reference_correct"]),
            "item_id": row["item_id"],
            "options": row["options"],
            "answer": row["answer"],
        }

    def _view(self, name: str, number: int) -> View:
        row = self.rows[number]
        # Without a clean teacher the view only fills its place in the batch; the loss leaves it out.
        wave = self.waves[row["clip_id"]] if name == "clean" and taught(row) else decode(row["audio"]["bytes"])[0]
        reason = refusal(wave, family.window_s(self.processor))
        if reason:
            raise UserError(f"mixture {row['mixture_id']}", f"audio does not fit the model ({reason})", "Rebuild the curriculum with this backbone")
        heard = {"silence": np.zeros_like(wave), "drop_audio": None}.get(name, wave)
        text = family.chat_text(self.processor, row["prompt"], heard is not None)
        return family.inputs(self.processor, [text], None if heard is None else [heard], 1)


def taught(row: Row) -> bool:
    """Whether the clean teacher can teach this row: a question about the noise has no clean reference."""
    return row["reference_token_ids"] is not None


def collate(examples: Sequence[dict[str, Any]], pad: int) -> dict[str, Any]:
    """Examples as one batch: views padded on the left, responses (B, T) with their mask on the right."""
    views = [name for name, value in examples[0].items() if isinstance(value, dict)]
    responses = [example["response"] for example in examples]
    return {
        **{name: _stack([example[name] for example in examples], pad) for name in views},
        "response": pad_sequence(responses, batch_first=True, padding_value=pad),
        "response_mask": pad_sequence([torch.ones_like(ids) for ids in responses], batch_first=True),
        "taught": torch.tensor([example["taught"] for example in examples]),
        "trusted": torch.tensor([example["trusted"] for example in examples]),
        "item_id": [example["item_id"] for example in examples],
        "options": [example["options"] for example in examples],
        "answer": [example["answer"] for example in examples],
    }


def _stack(views: Sequence[View], pad: int) -> View:
    fill = {"input_ids": pad, "attention_mask": 0}
    return {
        key: pad_sequence([view[key][0] for view in views], batch_first=True, padding_value=fill[key], padding_side="left")
        if key in fill
        else torch.cat([view[key] for view in views])
        for key in views[0]
    }
