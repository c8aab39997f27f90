"""The items stage: catalog tables in, data/items.parquet out."""

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.params import load
from tasks.common.tables import read_rows, write_parquet
from tasks.items.build import Corpus, Pool, background_item, question_items, speech_items, words_of
from tasks.items.params import ItemsParams, read_questions

SPEECH = Path("data/catalog/speech.parquet")
NOISE = Path("data/catalog/noise.parquet")
ITEMS = Path("data/items.parquet")
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("clip_id", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("task", pa.string()),
        ("transcript", pa.string()),
        ("split", pa.string()),
    ]
)
log = logging.getLogger("dinproof")


def all_items(speech: list[dict[str, Any]], noise: list[dict[str, Any]], params: ItemsParams) -> list[dict[str, Any]]:
    """Items of every utterance and every noise clip, in the order of their ids, whatever the order of the rows.

    A clip that its corpus asks questions of gets those; any other gets questions about its words.
    """
    questions = read_questions(params.questions)
    asked = {row["clip_id"]: published for row in speech if (published := published_questions(row))}
    answers: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in speech:
        for question in asked.get(row["clip_id"], []):
            answers[row["corpus"]][question["task"]].add(question["answer"])
    drawn = {corpus: {task: Pool.of(found) for task, found in tasks.items()} for corpus, tasks in answers.items()}
    items = [
        made for row in speech if row["clip_id"] in asked for made in question_items(row, asked[row["clip_id"]], drawn[row["corpus"]], params.options)
    ]

    speech = [row for row in speech if row["clip_id"] not in asked]
    transcripts: dict[str, list[list[str]]] = defaultdict(list)
    for row in speech:
        if words := words_of(row["text"] or ""):
            transcripts[row["corpus"]].append(words)
    corpora = {name: Corpus.of(texts) for name, texts in transcripts.items()}
    items += [made for row in speech if row["corpus"] in corpora for made in speech_items(row, corpora[row["corpus"]], questions, params.options)]

    types: dict[str, set[str]] = defaultdict(set)
    for row in noise:
        types[row["corpus"]].add(row["noise_type"])
    pools = {name: Pool.of(found) for name, found in types.items()}
    every = Pool.of(kind for found in types.values() for kind in found)
    backgrounds = (background_item(row, pools[row["corpus"]], every, questions, params.options) for row in noise)
    items += [made for made in backgrounds if made]
    return sorted(items, key=lambda made: made["item_id"])


def published_questions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The questions that the corpus of a clip asks of it, from its metadata; [] for most. A question without a task has the clip's."""
    metadata = json.loads(row["metadata"]) if '"questions"' in (row.get("metadata") or "") else {}
    questions = metadata.get("questions")
    return [{**one, "task": one["task"] or metadata.get("task", "")} for one in questions] if isinstance(questions, list) else []


def run() -> Counts:
    """Write the items of the catalogued utterances and noise clips."""
    params = load("items", ItemsParams)
    speech = read_rows(SPEECH, ["clip_id", "corpus", "text", "split", "metadata"], [("kind", "=", "utterance")])
    noise = read_rows(NOISE, ["clip_id", "corpus", "noise_type", "split"])
    before = {row["item_id"] for row in read_rows(ITEMS, ["item_id"])} if ITEMS.exists() else set()
    items = all_items(speech, noise, params)
    wordless = len(speech) + len(noise) - len({made["clip_id"] for made in items})
    if wordless:
        log.info("items: %d clip(s) have no item: no transcript, or nothing to choose from", wordless)
    write_parquet(ITEMS, items, SCHEMA, row_group=10_000)
    kept = sum(made["item_id"] in before for made in items)
    return Counts(done={"items": len(items) - kept}, reused={"items": kept})
