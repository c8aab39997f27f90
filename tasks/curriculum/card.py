"""The dataset card: a header that Hugging Face datasets reads, then what is inside and what is owed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from tasks.common.markdown import table
from tasks.curriculum.params import Plan

Row = dict[str, Any]


def stage_file(number: int, name: str) -> str:
    """Where a stage's rows lie in data/curriculum."""
    return f"train/{number}-{name}.parquet"


def header(plan: Plan) -> str:
    """YAML metadata: the default configuration has all splits, and each stage is one of its own."""
    splits = {"train": "train/*.parquet", "validation": "heldout/validation.parquet", "test": "heldout/test.parquet"}
    default = {"config_name": "default", "default": True, "data_files": [{"split": split, "path": path} for split, path in splits.items()]}
    stages = [
        {"config_name": stage.name, "data_files": [{"split": "train", "path": stage_file(number, stage.name)}]}
        for number, stage in enumerate(plan.stages, 1)
    ]
    return yaml.safe_dump({"pretty_name": "Dinproof curriculum", "configs": [default, *stages]}, sort_keys=False)


def share(rows: Sequence[Row], column: str) -> str:
    """`87.5 % of 40`: how often a column is true among the rows that know; a dash where none does."""
    known = [row[column] for row in rows if row[column] is not None]
    return f"{100 * sum(known) / len(known):.1f} % of {len(known)}" if known else "-"


def stage_table(plan: Plan, rows: Sequence[Row]) -> str:
    """Questions of each training stage, with how often the clean teacher and the noisy student are right."""
    lines = []
    for number, stage in enumerate(plan.stages, 1):
        low, high = stage.limits
        part = [row for row in rows if row["split"] == "train" and row["stage"] == number]
        lines.append([number, stage.name, f"{low:g} <= SNR < {high:g}", len(part), share(part, "reference_correct"), share(part, "student_correct")])
    return table(["stage", "name", "dB", "questions", "teacher right on clean", "student right in noise"], lines)


def counts_table(rows: Sequence[Row]) -> str:
    """Questions by split and noise type over SNR."""
    levels = sorted({row["snr_db"] for row in rows})
    counts = Counter((row["split"], row["noise_type"], row["snr_db"]) for row in rows)
    lines = [[split, noise, *(counts[split, noise, level] for level in levels)] for split, noise in sorted({key[:2] for key in counts})]
    return table(["split", "noise", *(f"{level:g} dB" for level in levels)], lines)


def owed_table(rows: Sequence[Row], corpora: Sequence[Row]) -> str:
    """The corpora whose speech, noise or rooms are heard in some question, with their licences, whom to cite, and in how many."""
    counts = Counter(corpus for row in rows for corpus in row["corpora"])
    lines = [
        [corpus["corpus"], ", ".join(corpus["licences"]), corpus["citation"], corpus["source"], counts[corpus["corpus"]]]
        for corpus in corpora
        if counts[corpus["corpus"]]
    ]
    return table(["corpus", "licences", "cite", "source", "questions"], lines)


def card(plan: Plan, kept: Sequence[Row], excluded: Sequence[Row], corpora: Sequence[Row]) -> str:
    """README.md of the dataset.

    Rows need split, stage, task, noise_type, snr_db, licences, corpora, reason and the shares' columns; `corpora` is data/catalog/corpora.parquet.
    """
    splits = Counter(row["split"] for row in kept)
    tasks = Counter((row["split"], row["task"]) for row in kept)
    licences = Counter(licence for row in kept for licence in row["licences"])
    reasons = Counter((row["split"], row["reason"]) for row in excluded)
    gate = "on: questions the clean teacher gets wrong are not trained on" if plan.selection.teacher_gate else "off"
    return f"""---
{header(plan)}---
# Dinproof curriculum

Questions about speech in noise, each with the noisy audio (16 kHz mono FLAC), the exact answer, the clean teacher's response to the same clip
(`reference_*`) and a response written from metadata (`pseudo_gt_*`). Background questions are about the noise and have no clean reference.
{", ".join(f"{splits[split]} questions in {split}" for split in ("train", "validation", "test"))}.

## Stages
{stage_table(plan, kept)}

Teacher gate: {gate}.

## Questions by noise and SNR
{counts_table(kept)}

## Tasks
{table(["split", "task", "questions"], [[*key, count] for key, count in sorted(tasks.items())])}

## Left out
{table(["split", "reason", "questions"], [[*key, count] for key, count in sorted(reasons.items())]) if reasons else "Nothing."}

Each one is a row of `excluded.parquet`.

## Licences owed
{table(["licence", "questions"], sorted(licences.items()))}

A row's `licences` lists those of its speech, noise and room; use of the row has to meet all of them.

## Owed to
{owed_table(kept, corpora)}

Questions that a corpus is heard in: as speech, noise, voices behind it, or room. Simulated rooms belong to no corpus.

## Loading
```python
import datasets
curriculum = datasets.load_dataset("data/curriculum")                      # train, validation, test
{plan.stages[0].name} = datasets.load_dataset("data/curriculum", "{plan.stages[0].name}", split="train")  # one stage
curriculum = curriculum.cast_column("audio", datasets.Audio(16000))        # decode the audio on access; needs torchcodec
```
```sql
SELECT stage, noise_type, count(*), avg(kl_to_clean) FROM 'data/curriculum/train/*.parquet' GROUP BY ALL ORDER BY ALL;  -- DuckDB
```
"""
