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
from tasks.items.prompt import text_only

CURRICULUM = Path("data/curriculum")
SPEECH = Path("data/catalog/speech.parquet")
COLUMNS = ["mixture_id", "item_id", "clip_id", "stage", "snr_db", "noise_type", "task", "prompt", "options", "answer", "transcript", "audio"]
COLUMNS += ["reference_correct", "reference_token_ids", "pseudo_gt_token_ids", "kl_to_clean"]
RESPONSES = ("reference", "pseudo_gt")

Row = dict[str, Any]
View = dict[str, Tensor]


def training_rows(responses: Sequence[str], folder: Path = CURRICULUM / "train") -> list[Row]:
    """Rows of the curriculum that have all of `responses` (of `reference`, `pseudo_gt`), in an order of their own.

    Without any named, rows that clean audio answers: a question about the noise itself has no clean reference, and is learnt from its
    Pseudo-GT alone. Raises UserError where no row is left.
    """
    rows = read_rows(folder, columns=COLUMNS)
    needed = [f"{response}_token_ids" for response in responses] or ["reference_token_ids"]
    usable = [row for row in rows if all(row[ids] for ids in needed)]
    if not usable:
        raise UserError(str(folder), f"no row has {' and '.join(needed)}", "Run the curriculum stage, or loosen its selection")
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
        views: which views a batch has beside the student's, of `clean`, `silence`, `drop_audio`, `keep_transcript`, `text`.
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
        order: Sequence[int],
        clean: Sequence[bool],
        cached_views: int,
    ) -> None:
        self.rows, self.waves, self.processor, self.views = rows, waves, processor, views
        self.order, self.clean = order, clean
        self.view: Callable[[str, int], View] = lru_cache(cached_views)(self._view)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        number = self.order[position]
        row = self.rows[number]
        return {
            "position": position,
            "views": {
                "student": self.view("clean" if self.clean[position] and taught(row) else "noisy", number),
                **{name: self.view(name, number) for name in self.views},
            },
            "responses": {name: torch.tensor(row[f"{name}_token_ids"] or [], dtype=torch.long) for name in RESPONSES},
            "flags": {
                "taught": taught(row),
                "trusted": bool(row["reference_correct"]),
                **{f"has_{name}": bool(row[f"{name}_token_ids"]) for name in RESPONSES},
            },
            **{key: row[key] for key in ("item_id", "options", "answer", "kl_to_clean")},
        }

    def _view(self, name: str, number: int) -> View:
        row = self.rows[number]
        read = text_only(row["transcript"] or "", row["prompt"])
        if name == "text":
            return family.inputs(self.processor, [family.chat_text(self.processor, read, False)], None, 1)
        # Without a clean teacher the view only fills its place in the batch; the loss leaves it out.
        wave = self.waves[row["clip_id"]] if name == "clean" and taught(row) else decode(row["audio"]["bytes"])[0]
        reason = refusal(wave, family.window_s(self.processor))
        if reason:
            raise UserError(f"mixture {row['mixture_id']}", f"audio does not fit the model ({reason})", "Rebuild the curriculum with this backbone")
        prompt = read if name == "keep_transcript" else row["prompt"]
        heard = {"silence": np.zeros_like(wave), "keep_transcript": np.zeros_like(wave), "drop_audio": None}.get(name, wave)
        text = family.chat_text(self.processor, prompt, heard is not None)
        return family.inputs(self.processor, [text], None if heard is None else [heard], 1)


def taught(row: Row) -> bool:
    """Whether the clean teacher can teach this row: a question about the noise has no clean reference."""
    return row["reference_token_ids"] is not None


def collate(examples: Sequence[dict[str, Any]], pad: int) -> dict[str, Any]:
    """Examples as one batch: views padded on the left, responses (B, T) with their masks (`<name>_mask`) on the right, flags (B,)."""
    batch: dict[str, Any] = {key: [example[key] for example in examples] for key in ("position", "item_id", "options", "answer", "kl_to_clean")}
    for name in examples[0]["views"]:
        batch[name] = _stack([example["views"][name] for example in examples], pad)
    for name in examples[0]["responses"]:
        responses = [example["responses"][name] for example in examples]
        batch[name] = pad_sequence(responses, batch_first=True, padding_value=pad)
        batch[f"{name}_mask"] = pad_sequence([torch.ones_like(ids) for ids in responses], batch_first=True)
    for name in examples[0]["flags"]:
        batch[name] = torch.tensor([example["flags"][name] for example in examples])
    return batch


def _stack(views: Sequence[View], pad: int) -> View:
    fill = {"input_ids": pad, "attention_mask": 0}
    return {
        key: pad_sequence([view[key][0] for view in views], batch_first=True, padding_value=fill[key], padding_side="left")
        if key in fill
        else torch.cat([view[key] for view in views])
        for key in views[0]
    }
