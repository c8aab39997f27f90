"""The references stage: a shard for every bucket of clips; a response whose key is in the earlier output is not asked for again."""

import logging
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.tables import prune, read_rows, write_parquet
from tasks.engines import Completion, model_revision
from tasks.items.pairs import BACKGROUND
from tasks.references.answering import Earlier, Job, Outcome, answer, is_open, key_of, samples_key_of
from tasks.references.params import ReferencesParams
from tasks.references.parts import driver, read_parts

SPEECH = Path("data/catalog/speech.parquet")
ITEMS = Path("data/items.parquet")
REFERENCES = Path("data/references")
EXCLUDED = Path("data/references_excluded.parquet")
PARTS = Path("data/.parts/references")
NO_CLEAN_REFERENCE = "no_clean_reference"
RESPONSE = [("text", pa.string()), ("token_ids", pa.list_(pa.int32())), ("token_logprobs", pa.list_(pa.float64())), ("finish_reason", pa.string())]
JUDGED = [("answer", pa.string()), ("correct", pa.bool_())]
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("key", pa.string()),
        ("teacher", pa.string()),
        *RESPONSE,
        *JUDGED,
        ("confidence", pa.float64()),
        ("samples_key", pa.string()),
        ("samples", pa.list_(pa.struct([*RESPONSE, *JUDGED]))),
        ("sample_agreement", pa.float64()),
        ("sample_correct_share", pa.float64()),
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
    jobs = _jobs(params, revision, [item for item in items if item["task"] != BACKGROUND], _earlier())
    complete = {bucket for bucket, job in jobs.items() if not any(is_open(item, revision, params, job.earlier) for item in job.items)}
    outcomes = [answer_and_write((jobs[bucket], REFERENCES / name_of(bucket))) for bucket in sorted(complete)]
    open_jobs = [(job, REFERENCES / name_of(bucket)) for bucket, job in jobs.items() if bucket not in complete]
    outcomes += driver(params.engine, fan_out)(answer_and_write, open_jobs, "references")

    excluded = [row for outcome in outcomes for row in outcome.excluded]
    excluded += [{"item_id": item["item_id"], "key": None, "reason": NO_CLEAN_REFERENCE} for item in items if item["task"] == BACKGROUND]
    write_parquet(EXCLUDED, sorted(excluded, key=lambda row: row["item_id"]), EXCLUDED_SCHEMA)
    REFERENCES.mkdir(parents=True, exist_ok=True)
    prune(REFERENCES, {name_of(bucket) for bucket in jobs})
    shutil.rmtree(PARTS, ignore_errors=True)
    _report(outcomes, items)
    made = sum(outcome.made for outcome in outcomes)
    total = sum(len(outcome.references) for outcome in outcomes)
    return Counts(done={"references": made}, reused={"references": total - made})


def _earlier() -> Earlier:
    """What the outputs and the parts of earlier runs hold. Shards are read one by one: a killed run leaves two generations of columns."""
    completions = read_parts(PARTS)
    for path in sorted(REFERENCES.glob("*.parquet")):
        for row in read_rows(path):
            completions[row["key"]] = [_completion(row)]
            if row.get("samples_key") is not None:
                completions[row["samples_key"]] = [_completion(drawn) for drawn in row["samples"]]
    refused = read_rows(EXCLUDED) if EXCLUDED.is_file() else []
    # An engine option may shorten the context, and no key names it.
    lasting = [row for row in refused if row["key"] is not None and row["reason"] != "context_overflow"]
    return Earlier(completions, {row["key"]: row["reason"] for row in lasting})


def _completion(row: Row) -> Completion:
    return Completion(row["text"], row["token_ids"], row["token_logprobs"], row["finish_reason"])


def _jobs(params: ReferencesParams, revision: str, items: list[Row], earlier: Earlier) -> dict[int, Job]:
    buckets: dict[int, list[Row]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (item["clip_id"], item["item_id"])):
        buckets[bucket_of(item["clip_id"], params.shards)].append(item)
    clips = {clip["clip_id"]: clip for clip in read_rows(SPEECH)}
    jobs = {}
    for bucket, members in sorted(buckets.items()):
        keys = {key_of(item, revision, params.max_new_tokens) for item in members}
        drawn = {key for item in members if (key := samples_key_of(item, revision, params)) is not None}
        own = Earlier(
            {key: earlier.completions[key] for key in (keys | drawn) & earlier.completions.keys()},
            {key: earlier.reasons[key] for key in keys & earlier.reasons.keys()},
        )
        heard = {item["clip_id"] for item in members}
        jobs[bucket] = Job(params, revision, members, [clips[clip] for clip in sorted(heard)], own, PARTS)
    return jobs


def _report(outcomes: list[Outcome], items: list[Row]) -> None:
    """Log how often the teacher is right, and what a teacher gate would therefore keep."""
    by_id = {item["item_id"]: item for item in items}
    rows = [row for outcome in outcomes for row in outcome.references]
    for task in sorted({by_id[row["item_id"]]["task"] for row in rows}):
        right = [row["correct"] for row in rows if by_id[row["item_id"]]["task"] == task]
        log.info("references: the teacher is right on %s clean %s items", _percent(right), task)
    for split in ("train", "validation", "test"):
        right = [row["correct"] for row in rows if by_id[row["item_id"]]["split"] == split]
        if right:
            log.info("references: teacher_gate keeps %s clean %s items", _percent(right), split)


def _percent(flags: Sequence[bool]) -> str:
    return f"{100 * sum(flags) / len(flags):.1f} % of {len(flags)}"
