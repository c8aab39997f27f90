"""The card of an export: a header in the hub's metadata format, what is inside, under which licences, owed to whom, and how to open it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import yaml

from tasks.common.markdown import table
from tasks.common.tables import SOUNDS, checked, read_rows
from tasks.export.source import CORPORA, MANIFEST, Part

# SPDX names that the hub knows, in its spelling (https://huggingface.co/docs/hub/repositories-licenses); any other is `other` there.
_HUB = {"apache-2.0", "mit", "cc0-1.0", "pddl", "odbl", "odc-by", "bsd-3-clause"}
_HUB |= {f"cc-{terms}-{version}" for terms in ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd") for version in ("2.0", "2.5", "3.0", "4.0")}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
COLUMNS = {
    "mixture_id, item_id, clip_id": "the noisy clip, the question, the clean clip that is spoken",
    "split, stage, task": "train, validation or test; stage of the curriculum by SNR, 1 first, null outside all of them; kind of question",
    "noise_type, snr_db": "what the noise is, and the SNR over active speech in dB",
    "prompt, options, answer": "the question as a model reads it, its options, the right one",
    "transcript": "the words the question is about; empty where it asks about the noise",
    "text, speaker": "what is said in the clip, whatever the question, and by whom; null where unknown",
    "reference_text, reference_correct": "the clean teacher's response to the same clip, and whether it is right",
    "pseudo_gt_text": "the Pseudo-GT: a response written from metadata",
    "see, kl_to_clean, feature_distance": "how hard the row is for the model before training, by three measures; null where not measured",
    "student_correct, agrees_with_clean": "whether that model's answer is right, and the same as on the clean clip; null where not asked",
    "licences": "of the speech, the noise and the room: use of the row has to meet all of them",
}


def header(licences: Sequence[str], questions: int, parts: Sequence[Part], glob: str | None) -> str:
    """YAML metadata of the hub. With a `glob` of its files, an export is a dataset that `load_dataset` opens: all splits, and each stage by name."""
    known = {name.lower() if name.lower() in _HUB else "other" for name in licences}
    about: dict[str, Any] = {
        "pretty_name": "Dinproof curriculum",
        "license": sorted(known),
        "task_categories": ["audio-text-to-text"],
        "size_categories": [next((name for limit, name in _SIZES if questions < limit), "10M<n<100M")],
        "tags": ["audio", "speech-in-noise", "curriculum"],
    }
    if glob:
        files: dict[str, list[str]] = defaultdict(list)
        for part in parts:
            files[part.split].append(f"{part.path}/{glob}")
        default = {"config_name": "default", "default": True, "data_files": [{"split": split, "path": paths} for split, paths in files.items()]}
        stages = [
            {"config_name": stage_of(part), "data_files": [{"split": "train", "path": f"{part.path}/{glob}"}]}
            for part in parts
            if part.split == "train"
        ]
        about["configs"] = [default, *stages]
    return yaml.safe_dump(about, sort_keys=False)


def stage_of(part: Part) -> str:
    """`easy` of `train/1-easy`; a held-out part keeps its name."""
    return part.file.stem.partition("-")[2] or part.file.stem


def crossed(name: str, counts: Sequence[tuple[Any, ...]], column: str) -> str:
    """A table of counts from rows (split, value of `name`, number or None, count), a column for each number, headed as the format `column` says."""
    numbers = sorted({number for _, _, number, _ in counts}, key=lambda number: (number is None, number))
    found = {(split, value, number): count for split, value, number, count in counts}
    lines = [
        [split, value, *(found.get((split, value, number), 0) for number in numbers)] for split, value in dict.fromkeys(row[:2] for row in counts)
    ]
    return table(["split", name, *("none" if number is None else column.format(number) for number in numbers)], lines)


def opening(form: str, out: str, part: Part, last_shard: int) -> str:
    """How to open an export at `out`, with the names of a part of it and the number of that part's last shard filled in."""
    config = stage_of(part) if part.split == "train" else "default"
    return form.format(out=out, part=part.path, folder=part.file.parent.name, config=config, split=part.split, last=last_shard)


def card(parts: Sequence[Part], left_out: Mapping[str, int], opened: str, glob: str | None) -> str:
    """README.md of an export of `parts`; `left_out` are the questions of a part that its form cannot hold, `opened` the text on opening it."""
    connection = duckdb.connect()
    counted = connection.sql(
        """SELECT c.split, c.stage, c.task, c.noise_type, c.snr_db, c.licences, m.corpora, count(*) AS n
           FROM read_parquet($files) c LEFT JOIN read_parquet($manifest) m USING (mixture_id) GROUP BY ALL""",
        params={"files": checked([part.file for part in parts], SOUNDS), "manifest": checked([MANIFEST])[0]},
    )
    connection.register("counted", counted.to_arrow_table())

    def rows(query: str) -> list[tuple[Any, ...]]:
        return connection.sql(query).fetchall()

    licences = rows("SELECT licence, sum(n)::BIGINT FROM (SELECT unnest(licences) AS licence, n FROM counted) GROUP BY ALL ORDER BY ALL")
    corpora = dict(rows("SELECT corpus, sum(n)::BIGINT FROM (SELECT unnest(corpora) AS corpus, n FROM counted) GROUP BY ALL"))
    questions = sum(part.rows for part in parts)
    owed = [
        [row["corpus"], ", ".join(row["licences"]), row["citation"], row["source"], corpora[row["corpus"]]]
        for row in read_rows(CORPORA)
        if row["corpus"] in corpora
    ]
    missing = sum(left_out.values())
    note = f"\n{missing} questions are left out, as nobody knows what is said in their clip; the tables below count them.\n" if missing else ""
    return f"""---
{header([name for name, _ in licences], questions, parts, glob)}---
# Dinproof curriculum

Questions about speech in noise, in stages from easy to hard, each with the noisy audio (16 kHz, mono, 16 bit, lossless), the exact answer, the clean
teacher's response and a Pseudo-GT. {questions - missing} questions.

## Open it
{opened}

## Parts
{table(["folder", "split", "questions"], [[part.path, part.split, part.rows - left_out.get(part.path, 0)] for part in parts])}
{note}
## What a row carries
{table(["columns", "meaning"], COLUMNS.items())}

## Questions by task and stage
{crossed("task", rows("SELECT split, task, stage, sum(n)::BIGINT FROM counted GROUP BY ALL ORDER BY ALL"), "stage {:g}")}

## Questions by noise and SNR
{crossed("noise", rows("SELECT split, noise_type, snr_db, sum(n)::BIGINT FROM counted GROUP BY ALL ORDER BY ALL"), "{:g} dB")}

## Licences owed
{table(["licence", "questions"], licences)}

A row's `licences` lists those of its speech, noise and room; use of the row has to meet all of them.

## Owed to
{table(["corpus", "licences", "cite", "source", "questions"], owed)}
"""
