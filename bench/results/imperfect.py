"""EchoDistill with a teacher that is right on about two thirds of the questions: what the gate and the policy term are worth then.

The imperfect teacher is a natural one: the embedded backbone after a part of its training. As everywhere, it is the student's start too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.results.jobs import Job, Results
from bench.results.stats import points, right, share
from bench.results.tables import table
from bench.results.worlds import World, clean, made_once, with_models
from tasks.backbone.params import BackboneParams
from tasks.backbone.stage import train_from_scratch
from tasks.common.params import load
from tasks.common.seeds import content_id
from tasks.common.tables import read_rows, write_parquet
from tasks.engines import load_generator
from tasks.items.answers import parse_answer

WORLD = "imperfect.unfinished"
AUDIO_STEPS = 120  # of the 600 that the embedded backbone learns from audio
ANSWERS = "references.parquet"
MAX_NEW_TOKENS = 24  # the longest embedded answer has 9, its end included


def unfinished(world: World, cache: Path) -> World:
    """The world with a backbone that has not learnt to hear, which is its teacher too, and that teacher's references."""
    params = load("backbone", BackboneParams)
    params = params.model_copy(update={"training": params.training.model_copy(update={"steps": AUDIO_STEPS})})
    place = cache / content_id([world.fingerprint(), params.model_dump(mode="json")])

    def make(folder: Path) -> None:
        train_from_scratch(params, folder / "backbone")
        write_parquet(folder / ANSWERS, references(with_models(world, world.name, folder / "backbone")))

    made_once(place, make)
    told = {row.pop("item_id"): row for row in read_rows(place / ANSWERS)}
    weak = with_models(world, "imperfect teacher", place / "backbone")
    return replace(weak, rows=[{**row, **told.get(row["item_id"], {})} for row in weak.rows])


def references(world: World) -> pa.Table:
    """The teacher's greedy response to each training question on the clean clip, and whether it is right."""
    asked = {row["item_id"]: row for row in world.rows if row["reference_token_ids"]}
    requests = [clean(row, world.waves) for row in asked.values()]
    found = load_generator("transformers", world.teacher).generate(requests, max_new_tokens=MAX_NEW_TOKENS)
    rows = []
    for (item, row), answer in zip(asked.items(), found, strict=True):
        correct = parse_answer(answer[0].text, row["options"]) == row["answer"]
        rows.append({"item_id": item, "reference_token_ids": answer[0].token_ids, "reference_correct": correct})
    return pa.Table.from_pylist(rows)


# All have features and the policy's loss as EchoDistill's default has them; steps are set for equal CPU seconds.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", {}),
    "GRPO only": ("grpo", {}),
    "distill only": ("echodistill", {"echodistill": {"lambda_policy": 0.0, "teacher_gate": False}}),
    "distill, gated": ("echodistill", {"echodistill": {"lambda_policy": 0.0}}),
    "EchoDistill: gated, with policy": ("echodistill", {}),
}

HEAD = ["run", "acc_clean", "acc_noisy", "acc_noisy over GRPO only", "acc_noisy over distill only", "CPU s"]


def jobs(folders: Sequence[str], split: str, seeds: Sequence[int]) -> list[Job]:
    """Every run of every seed, in the embedded world: the others' backbones take longer than this table."""
    return [
        Job(folder, name, method, seed, split, world=WORLD, settings=settings)
        for folder in folders
        if folder == "embedded"
        for name, (method, settings) in RUNS.items()
        for seed in (seeds if method != "base" else seeds[:1])
    ]


def section(results: Results, folders: Sequence[str]) -> str:
    """The table."""
    parts = ["## EchoDistill with a teacher that errs\n"]
    for folder in folders:
        if not results.has(folder, "base", WORLD):
            continue
        grpo, distilled = (share(results.tables(folder, name, WORLD), right("noisy")) for name in ("GRPO only", "distill only"))
        lines = []
        for name in RUNS:
            ours = results.tables(folder, name, WORLD)
            noisy = share(ours, right("noisy"))
            shown = [share(ours, right("clean")), noisy]
            over = [points(noisy - other, sign=True) for other in (grpo, distilled)]
            lines.append([name, *map(points, shown), *over, f"{results.seconds(folder, name, WORLD):.0f}"])
        parts.append(f"### {folder}\n\n" + table(HEAD, lines))
    return "\n".join(parts)
