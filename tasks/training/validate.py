"""How right a model is on the validation split, noisy and clean: what settings are chosen by, before any test item is seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tasks.common.audio import Wave, decode
from tasks.common.errors import UserError
from tasks.common.tables import read_rows
from tasks.engines import Request, load_generator
from tasks.items.answers import parse_answer
from tasks.items.prompt import text_only
from tasks.training.data import CURRICULUM, Row, clean_waves
from tasks.training.families import bare, family_of
from tasks.training.rollouts import end_ids, sample
from tasks.training.scoring import read

VALIDATION = CURRICULUM / "heldout" / "validation.parquet"
COLUMNS = ["mixture_id", "item_id", "clip_id", "task", "prompt", "options", "answer", "transcript", "audio", "reference_token_ids"]
GREEDY = 1e-6  # a temperature at which sampling takes the likeliest token
PROBED_TOGETHER = 16  # answers a batch while training: as many as a step has rollouts of two items


def validation_rows(limit: int) -> list[Row]:
    """The first `limit` rows by id (ids are hashes, so that is a random sample) of questions that clean audio answers too.

    Conflict items are left out: they measure whom a model trusts, not what it understands. Raises UserError where no row is left.
    """
    rows = [row for row in read_rows(VALIDATION, COLUMNS) if row["reference_token_ids"] is not None and row["task"] != "conflict"]
    if not rows:
        raise UserError(str(VALIDATION), "no row with a clean reference", "Run the curriculum stage on a validation split that has speech")
    return sorted(rows, key=lambda row: (row["mixture_id"], row["item_id"]))[:limit]


def accuracies(folder: Path, rows: Sequence[Row], max_new_tokens: int) -> dict[str, Any]:
    """`n`, the share of right greedy answers to the mixture, the clean clip and the transcript, and `modality_gap`, acc_text - acc_noisy.

    Raises AudioRefused for a clip longer than the model's window.
    """
    generator = load_generator("transformers", folder)
    clean = clean_waves(rows)

    def share(requests: Sequence[Request]) -> float:
        answers = generator.generate(requests, max_new_tokens=max_new_tokens)
        right = [parse_answer(found[0].text, row["options"]) == row["answer"] for row, found in zip(rows, answers, strict=True)]
        return round(sum(right) / len(right), 4)

    noisy = share([Request(row["prompt"], decode(row["audio"]["bytes"])[0]) for row in rows])
    text = share([Request(text_only(row["transcript"], row["prompt"])) for row in rows])
    found = {"acc_noisy": noisy, "acc_clean": share([Request(row["prompt"], clean[row["clip_id"]]) for row in rows]), "acc_text": text}
    return {"n": len(rows), **found, "modality_gap": round(text - noisy, 4)}


class Probe:
    """Puts validation questions to the model in training, noisy and clean; draws nothing at random and leaves no trace in the run.

    Args:
        rows: from `validation_rows`.
        processor: the backbone's.
        max_new_tokens: of an answer.
    """

    def __init__(self, rows: Sequence[Row], processor: Any, max_new_tokens: int) -> None:
        self.rows, self.processor, self.max_new_tokens = rows, processor, max_new_tokens
        clean = clean_waves(rows)
        self.waves = {"acc_noisy": [decode(row["audio"]["bytes"])[0] for row in rows], "acc_clean": [clean[row["clip_id"]] for row in rows]}

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        """`acc_noisy` and `acc_clean` of greedy answers."""
        learning = model.training
        model.eval()
        found = {name: self._right(model, waves) for name, waves in self.waves.items()}
        model.train(learning)
        return found

    def _right(self, model: Any, waves: Sequence[Wave]) -> float:
        family, tokenizer, right = family_of(self.processor), self.processor.tokenizer, 0
        for start in range(0, len(self.rows), PROBED_TOGETHER):
            rows = self.rows[start : start + PROBED_TOGETHER]
            texts = [family.chat_text(self.processor, row["prompt"], True) for row in rows]
            view = family.inputs(self.processor, texts, waves[start : start + PROBED_TOGETHER], 1)
            prefix = read(model, {name: tensor.to(bare(model).device) for name, tensor in view.items()})
            draws = torch.full((len(rows), self.max_new_tokens), 0.5, dtype=torch.float64)
            answers = sample(model, prefix, end_ids(bare(model)), tokenizer.pad_token_id, GREEDY, draws)
            told = tokenizer.batch_decode(answers.ids, skip_special_tokens=True)
            right += sum(parse_answer(text, row["options"]) == row["answer"] for text, row in zip(told, rows, strict=True))
        return round(right / len(self.rows), 4)
