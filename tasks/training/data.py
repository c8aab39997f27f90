"""The curriculum as training batches: what the student hears, what the teacher hears, and the response both are forced along.

A view is one way of putting an item to a model: the prompt with the noisy audio, with the clean audio, with silence, or
without audio. The student gets the noisy view, and now and then the clean one, so that it keeps what it could do. The
processor makes a view once and it is kept, because a run returns to an item several times.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from tasks.catalog.audio import load_clips
from tasks.common.audio import Wave, at_speed, decode
from tasks.common.errors import UserError
from tasks.common.seeds import rng_of
from tasks.common.tables import read_rows, read_schema
from tasks.engines import Request, refusal
from tasks.items.prompt import text_only
from tasks.training.families import family_of

CURRICULUM = Path("data/curriculum")
SPEECH = Path("data/catalog/speech.parquet")
COLUMNS = ["mixture_id", "item_id", "clip_id", "stage", "snr_db", "noise_type", "task", "prompt", "options", "answer", "transcript", "audio"]
COLUMNS += ["reference_correct", "reference_token_ids", "pseudo_gt_token_ids", "kl_to_clean"]
MEASURED = ("student_correct", "see", "feature_distance")  # where a curriculum has them
RESPONSES = ("reference", "pseudo_gt")
KEPT = ("position", "row", "heard", "item_id", "options", "answer", "kl_to_clean")  # of an example, as it is

Row = dict[str, Any]
View = dict[str, Tensor]


def usable(rows: Sequence[Row], responses: Sequence[str]) -> list[Row]:
    """Rows that have all of `responses` (of `reference`, `pseudo_gt`, `text`), in an order of their own.

    Without any named, rows that clean audio answers: a question about the noise itself has no clean reference, and is learnt from its
    Pseudo-GT alone.
    """
    needed = responses or ["reference"]
    return sorted((row for row in rows if all(has(row, response) for response in needed)), key=lambda row: (row["mixture_id"], row["item_id"]))


def has(row: Row, response: str) -> bool:
    """Whether a row has a response to learn from; `text`: a form that can be read, which a prompt that states another transcript spoils."""
    return bool(row["transcript"]) and row["task"] != "conflict" if response == "text" else bool(row[f"{response}_token_ids"])


def training_rows(responses: Sequence[str], folder: Path = CURRICULUM / "train") -> list[Row]:
    """The usable rows of the curriculum. Raises UserError where no row is left."""
    there = {name for file in folder.glob("*.parquet") for name in read_schema(file).names}
    rows = usable(read_rows(folder, columns=[*COLUMNS, *(name for name in MEASURED if name in there)]), responses)
    if not rows:
        raise UserError(str(folder), f"no row has {' and '.join(responses) or 'a reference'}", "Run the curriculum stage, or loosen its selection")
    return rows


def clean_waves(rows: Sequence[Row]) -> dict[str, Wave]:
    """Clean audio, 16 kHz mono, of every speech clip in `rows`, by clip_id."""
    wanted = {row["clip_id"] for row in rows}
    return load_clips([clip for clip in read_rows(SPEECH) if clip["clip_id"] in wanted])


def clean_turns(count: int, share: float, *seed: Any) -> list[bool]:
    """Which of `count` examples the student hears clean: each with probability `share`."""
    turns: list[bool] = (rng_of("clean turns", *seed).random(count) < share).tolist()
    return turns


class Curriculum(Dataset[dict[str, Any]]):
    """The items of a run in the order they are learnt; item i is example number i of the run, not of the table.

    Each place of a step has `candidates` positions in a run, of which the trainer keeps one.

    Args:
        rows: curriculum rows.
        waves: clean audio by clip_id.
        processor: the backbone's.
        views: which views a batch has beside the student's, of `clean`, `silence`, `drop_audio`, `keep_transcript`, `text`.
        order: row numbers by position.
        clean: whether the student hears the clean clip, by place; a row without a clean teacher stays noisy.
        cached_views: processor outputs to keep; a 2 s one takes about 65 kB.
        candidates: positions a place.
        remixed: the mixture of a position, given the row's number; None takes the curriculum's own.
        speeds: what a position's mixture and clean clip are both played at, drawn among those that fit the model's window.
        seed: of the speeds.
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
        candidates: int = 1,
        remixed: Callable[[int, int], Wave] | None = None,
        speeds: Sequence[float] = (1.0,),
        seed: int = 0,
    ) -> None:
        self.rows, self.waves, self.processor, self.views = rows, waves, processor, views
        self.order, self.clean, self.candidates, self.remixed = order, clean, candidates, remixed
        self.speeds, self.seed = speeds, seed
        self.view: Callable[[str, int], View] = lru_cache(cached_views)(self._view)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        number = self.order[position]
        row = self.rows[number]
        heard = "clean" if self.clean[position // self.candidates] and taught(row) else "noisy"
        varied = len(self.speeds) > 1
        new = varied or (heard == "noisy" and self.remixed is not None)  # comes once, so it is not worth keeping
        return {
            "position": position,
            "row": number,
            "heard": heard,
            "views": {
                "student": self._view(heard, number, position) if new else self.view(heard, number),
                **{name: self._view(name, number, position) if varied else self.view(name, number) for name in self.views},
            },
            "responses": {name: torch.tensor(row[f"{name}_token_ids"] or [], dtype=torch.long) for name in RESPONSES},
            "flags": {
                "taught": taught(row),
                "trusted": bool(row["reference_correct"]),
                **{f"has_{name}": bool(row[f"{name}_token_ids"]) for name in RESPONSES},
            },
            **{key: row[key] for key in ("item_id", "options", "answer", "kl_to_clean")},
        }

    def request(self, name: str, number: int, position: int | None = None) -> Request:
        """What a model is asked in a view of row `number`, with the mixture (where they are made on demand) and the speed of `position`.

        Raises UserError where the audio does not fit the model.
        """
        row = self.rows[number]
        read = text_only(row["transcript"] or "", row["prompt"])
        if name == "text":
            return Request(read)
        # Without a clean teacher the view only fills its place in the batch; the loss leaves it out.
        if name == "clean" and taught(row):
            wave = self.waves[row["clip_id"]]
        elif name == "noisy" and position is not None and self.remixed is not None:
            wave = self.remixed(position, number)
        else:
            wave = decode(row["audio"]["bytes"])[0]
        reason = refusal(wave, family_of(self.processor).window_s(self.processor))
        if reason:
            raise UserError(f"mixture {row['mixture_id']}", f"audio does not fit the model ({reason})", "Rebuild the curriculum with this backbone")
        if position is not None:
            wave = at_speed(wave, self.speed(position, wave))
        prompt = read if name == "keep_transcript" else row["prompt"]
        heard = {"silence": np.zeros_like(wave), "keep_transcript": np.zeros_like(wave), "drop_audio": None}.get(name, wave)
        return Request(prompt, heard)

    def speed(self, position: int, wave: Wave) -> float:
        """The same for every view of a position, since a mixture is as long as its clip."""
        window_s = family_of(self.processor).window_s(self.processor)
        fitting = [speed for speed in self.speeds if refusal(np.broadcast_to(wave[:1], int(len(wave) / speed)), window_s) is None]
        return fitting[int(rng_of("speed", self.seed, position).integers(len(fitting)))] if fitting else 1.0

    def _view(self, name: str, number: int, position: int | None = None) -> View:
        asked, family = self.request(name, number, position), family_of(self.processor)
        text = family.chat_text(self.processor, asked.prompt, asked.audio is not None)
        view: View = family.inputs(self.processor, [text], None if asked.audio is None else [asked.audio], 1)
        return view


def taught(row: Row) -> bool:
    """Whether the clean teacher can teach this row: a question about the noise has no clean reference."""
    return row["reference_token_ids"] is not None


def collate(examples: Sequence[dict[str, Any]], pad: int) -> dict[str, Any]:
    """Examples as one batch: views padded on the left, responses (B, T) with their masks (`<name>_mask`) on the right, flags (B,)."""
    batch: dict[str, Any] = {key: [example[key] for example in examples] for key in KEPT}
    for name in examples[0]["views"]:
        batch[name] = _stack([example["views"][name] for example in examples], pad)
    for name in examples[0]["responses"]:
        responses = [example["responses"][name] for example in examples]
        batch[name] = pad_sequence(responses, batch_first=True, padding_value=pad)
        batch[f"{name}_mask"] = pad_sequence([torch.ones_like(ids) for ids in responses], batch_first=True)
    for name in examples[0]["flags"]:
        batch[name] = torch.tensor([example["flags"][name] for example in examples])
    return batch


def take(batch: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """The examples of a batch that stand at `places`, as a batch."""
    at = torch.tensor(places, device=batch["taught"].device)

    def of(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: of(tensor) for key, tensor in value.items()}
        return value[at] if isinstance(value, Tensor) else [value[place] for place in places]

    return {key: of(value) for key, value in batch.items()}


def _stack(views: Sequence[View], pad: int) -> View:
    """Tokens are padded on the left, and frames of sound, the last axis of every other tensor, on the right."""
    fill = {"input_ids": pad, "attention_mask": 0}
    return {
        key: pad_sequence([view[key][0] for view in views], batch_first=True, padding_value=fill[key], padding_side="left")
        if key in fill
        else pad_sequence([view[key][0].movedim(-1, 0) for view in views], batch_first=True).movedim(1, -1).contiguous()
        for key in views[0]
    }
