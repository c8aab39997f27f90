"""The references stage: a shard for every bucket of clips; a response whose key is in the earlier output is not asked for again."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.tables import prune, read_rows, write_parquet
from tasks.engines import model_revision
from tasks.items.pairs import BACKGROUND
from tasks.references.answering import Job, Outcome, answer, key_of
from tasks.references.params import ReferencesParams

SPEECH = Path("data/catalog/speech.parquet")
ITEMS = Path("data/items.parquet")
REFERENCES = Path("data/references")
EXCLUDED = Path("data/references_excluded.parquet")
NO_CLEAN_REFERENCE = "no_clean_reference"
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("key", pa.string()),
        ("teacher", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("token_logprobs", pa.list_(pa.float64())),
        ("finish_reason", pa.string()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
    ]
)
EXCLUDED_SCHEMA = pa.schema([("item_id", pa.string()), ("key", pa.string()), ("reason", pa.string())])
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def bucket_of(clip_id: str, shards: int) -> int:
    """The shard a clip's items go to, decided by the clip alone."""
    return int(clip_id, 16) % shards


def name_of(bucket: int) -> str:
    return f"{bucket:04d}.parquet"


def answer_and_write(job: tuple[Job, Path]) -> Outcome:
    """`answer`, with the shard on disk before the result is sent, so that an interrupted run keeps it."""
    outcome = answer(job[0])
    write_parquet(job[1], outcome.references, SCHEMA)
    return outcome


def run(*, fan_out: FanOut) -> Counts:
    """Write data/references and data/references_excluded.parquet."""
    params = load("references", ReferencesParams)
    revision = model_revision(params.teacher)
    items = read_rows(ITEMS)
    earlier = _earlier()
    jobs = _jobs(params, revision, [item for item in items if item["task"] != BACKGROUND], earlier)
    complete = {bucket: job for bucket, job in jobs.items() if all(key_of(item, revision, params.max_new_tokens) in earlier for item in job.items)}
    open_jobs = [(job, REFERENCES / name_of(bucket)) for bucket, job in jobs.items() if bucket not in complete]
    outcomes = [answer_and_write((job, REFERENCES / name_of(bucket))) for bucket, job in complete.items()]
    outcomes += fan_out(answer_and_write, open_jobs, "references")

    excluded = [row for outcome in outcomes for row in outcome.excluded]
    excluded += [{"item_id": item["item_id"], "key": None, "reason": NO_CLEAN_REFERENCE} for item in items if item["task"] == BACKGROUND]
    write_parquet(EXCLUDED, sorted(excluded, key=lambda row: row["item_id"]), EXCLUDED_SCHEMA)
    REFERENCES.mkdir(parents=True, exist_ok=True)
    prune(REFERENCES, {name_of(bucket) for bucket in jobs})
    return _counts(outcomes, items)


def _earlier() -> dict[str, Row]:
    """Earlier responses and refusals by key."""
    responses = read_rows(REFERENCES) if any(REFERENCES.glob("*.parquet")) else []
    refusals = read_rows(EXCLUDED) if EXCLUDED.is_file() else []
    return {row["key"]: row for row in [*responses, *refusals] if row["key"] is not None}


def _jobs(params: ReferencesParams, revision: str, items: list[Row], earlier: dict[str, Row]) -> dict[int, Job]:
    buckets: dict[int, list[Row]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (item["clip_id"], item["item_id"])):
        buckets[bucket_of(item["clip_id"], params.shards)].append(item)
    clips = {clip["clip_id"]: clip for clip in read_rows(SPEECH)}
    jobs = {}
    for bucket, members in sorted(buckets.items()):
        keys = {key_of(item, revision, params.max_new_tokens) for item in members}
        heard = {item["clip_id"] for item in members}
        jobs[bucket] = Job(params, revision, members, [clips[clip] for clip in sorted(heard)], {key: earlier[key] for key in keys & earlier.keys()})
    return jobs


def _counts(outcomes: list[Outcome], items: list[Row]) -> Counts:
    task_of = {item["item_id"]: item["task"] for item in items}
    right: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        for row in outcome.references:
            right[task_of[row["item_id"]]].append(row["correct"])
    for task, correct in sorted(right.items()):
        log.info("references: the teacher is right on %.1f %% of %d clean %s items", 100 * sum(correct) / len(correct), len(correct), task)
    made = sum(outcome.made for outcome in outcomes)
    total = sum(len(outcome.references) + len(outcome.excluded) for outcome in outcomes)
    return Counts(done={"references": made}, reused={"references": total - made})
