"""SEE behind waveform denoisers: whether what the encoder perceives as noise tells which of them helps, measured on validation mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.common.fanout import FanOut
from tasks.common.seeds import choose_many, content_id, file_sha256
from tasks.common.versions import made_by
from tasks.denoise import DENOISERS, module
from tasks.difficulty.params import DifficultyParams
from tasks.engines import Request, model_revision, shared_generator
from tasks.engines.transformers_engine import TransformersGenerator
from tasks.items.answers import parse_answer
from tasks.items.prompt import prompt_text
from tasks.mix.read import mixture_rows, waves_of
from tasks.see.basis import basis_path, load_basis
from tasks.see.score import see_scores

FRONT_ENDS = Path("data/see_front_ends.parquet")
SCHEMA = pa.schema(
    [
        ("front_end", pa.string()),
        ("see", pa.float64()),
        ("acc_noisy", pa.float64()),
        ("mixtures", pa.int64()),
        ("questions", pa.int64()),
        ("key", pa.string()),
    ]
)
NONE = "none"  # the front end that leaves the mixture as it is
Row = dict[str, Any]


@dataclass(frozen=True)
class Behind:
    """A front end, and the items asked behind it as (mixture id, item)."""

    front_end: str
    params: DifficultyParams
    revision: str
    asked: list[tuple[str, Row]]
    key: str


def behind(job: Behind) -> Row:
    """A row of the table: mean SEE over the mixtures behind the front end, and how often the un-adapted student is right about them."""
    names = sorted({mixture_id for mixture_id, _ in job.asked})
    waves = waves_of(names)
    if job.front_end != NONE:
        waves = {name: DENOISERS[job.front_end](wave) for name, wave in waves.items()}
    generator = shared_generator(job.params.engine, Path(job.params.student), job.revision)
    assert isinstance(generator, TransformersGenerator)
    see = float(np.mean(see_scores(generator, [waves[name] for name in names], load_basis(basis_path(None)))))
    requests = [Request(prompt_text(item["question"], item["options"]), waves[name]) for name, item in job.asked]
    said = generator.generate(requests, max_new_tokens=job.params.max_new_tokens)
    right = [parse_answer(found[0].text, item["options"]) == item["answer"] for found, (_, item) in zip(said, job.asked, strict=True)]
    return {
        "front_end": job.front_end,
        "see": round(see, 6),
        "acc_noisy": round(float(np.mean(right)), 6),
        "mixtures": len(names),
        "questions": len(right),
        "key": job.key,
    }


def front_end_rows(params: DifficultyParams, asked: Sequence[tuple[str, Row]], earlier: Sequence[Row], fan_out: FanOut) -> list[Row]:
    """SEE and accuracy behind none and each denoiser, on `params.denoised` of the mixtures asked about; a row whose key is among the earlier is kept.

    Args:
        params: of the stage.
        asked: (mixture id, item) of questions about the speech, in an order of their own.
        earlier: rows written before.
    """
    revision, basis = model_revision(params.student), file_sha256(basis_path(None))
    chosen = set(choose_many(sorted({mixture_id for mixture_id, _ in asked}), params.denoised, "denoised"))
    mine = [pair for pair in asked if pair[0] in chosen]
    if not mine:
        return []
    rendered = {row["mixture_id"]: row["recipe_hash"] for row in mixture_rows(["mixture_id", "recipe_hash"], [("mixture_id", "in", chosen)])}
    told = content_id([revision, basis, params.max_new_tokens, [[rendered[mixture_id], item["item_id"]] for mixture_id, item in mine]])
    code = ("tasks.difficulty.front_ends", "tasks.engines")
    keys = {name: content_id([told, name, made_by(*code, *([] if name == NONE else [module(name)]))]) for name in (NONE, *DENOISERS)}
    known = {row["key"]: row for row in earlier}
    jobs = [Behind(name, params, revision, mine, key) for name, key in keys.items() if key not in known]
    known |= {row["key"]: row for row in fan_out(behind, jobs, "front ends")}
    return [known[key] for key in keys.values()]
