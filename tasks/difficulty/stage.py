"""The difficulty stage: which items are asked of which noisy mixture and, outside the test split, how the un-adapted student fares."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.seeds import content_id
from tasks.common.tables import read_rows, write_parquet
from tasks.difficulty.measuring import MEASURED, Job, Question, measure
from tasks.difficulty.params import DifficultyParams
from tasks.engines import model_revision
from tasks.items.pairs import pair

SPEECH = Path("data/catalog/speech.parquet")
ITEMS = Path("data/items.parquet")
MIXTURES = Path("data/mixtures")
REFERENCES = Path("data/references")
DIFFICULTY = Path("data/difficulty.parquet")
NOISY = pc.field("snr_db").is_valid()
SCHEMA = pa.schema(
    [
        ("mixture_id", pa.string()),
        ("item_id", pa.string()),
        ("split", pa.string()),
        ("noise_type", pa.string()),
        ("snr_db", pa.float64()),
        ("see", pa.float64()),
        ("kl_to_clean", pa.float64()),
        ("student_answer", pa.string()),
        ("student_correct", pa.bool_()),
        ("agrees_with_clean", pa.bool_()),
        ("refused", pa.string()),
        ("key", pa.string()),
    ]
)
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def key_of(row: Row, item: Row, reference: Row | None, revision: str, max_new_tokens: int) -> str:
    """Names a measurement by all it depends on: mixture, item (and its wording), reference, model, decoding."""
    return content_id([row["mixture_id"], item["item_id"], None if reference is None else reference["key"], revision, max_new_tokens])


def run(*, fan_out: FanOut) -> Counts:
    """Write data/difficulty.parquet; a measurement whose key is in the earlier file is kept."""
    params = load("difficulty", DifficultyParams)
    revision = model_revision(params.student)
    shards, questions = _questions(params, revision)
    earlier = {row["key"]: row for row in read_rows(DIFFICULTY)} if DIFFICULTY.is_file() else {}

    rows: dict[str, Row] = {}
    open_shards: dict[Path, list[Question]] = defaultdict(list)
    for question in questions:
        key = question.row["key"]
        if key in earlier:
            rows[key] = earlier[key]
        else:
            open_shards[shards[question.row["mixture_id"]]].append(question)
    kept = len(rows)
    rows |= {row["key"]: row for measured in fan_out(measure, _jobs(params, revision, open_shards), "difficulty") for row in measured}

    table = [rows[question.row["key"]] for question in questions]
    write_parquet(DIFFICULTY, table, SCHEMA, row_group=65536)
    _report(table)
    return Counts(done={"questions": len(table) - kept}, reused={"questions": kept})


def _questions(params: DifficultyParams, revision: str) -> tuple[dict[str, Path], list[Question]]:
    """(the shard of each mixture, the questions of all splits sorted by mixture and item)."""
    shards: dict[str, Path] = {}
    mixtures: list[Row] = []
    for path in sorted(MIXTURES.glob("*.parquet")):
        columns = ["mixture_id", "clip_id", "noise_ids", "noise_type", "snr_db", "split"]
        found = read_rows(path, columns, NOISY)
        shards |= {row["mixture_id"]: path for row in found}
        mixtures += found
    if not mixtures:
        raise UserError(str(MIXTURES), "no noisy mixture", "Run python -m tasks.mix, with at least one noise clip in the catalogs")
    items = {item["item_id"]: item for item in read_rows(ITEMS)}
    references = {row["item_id"]: row for row in read_rows(REFERENCES, ["item_id", "key", "token_ids", "answer"])}
    by_id = {row["mixture_id"]: row for row in mixtures}
    questions = []
    for mixture_id, item_id in sorted(pair(mixtures, list(items.values()), params.items_per_mixture, params.tasks)):
        item, reference = items[item_id], references.get(item_id)
        row = _row(by_id[mixture_id], item_id)
        row["key"] = key_of(row, item, reference, revision, params.max_new_tokens)
        questions.append(Question(row, item, reference))
    return shards, questions


def _row(mixture: Mapping[str, Any], item_id: str) -> Row:
    """A row of the table in which nothing has been measured yet."""
    blank: Row = dict.fromkeys(SCHEMA.names)
    return blank | {name: mixture[name] for name in ("mixture_id", "split", "noise_type", "snr_db")} | {"item_id": item_id}


def _jobs(params: DifficultyParams, revision: str, shards: Mapping[Path, list[Question]]) -> list[Job]:
    clips = {clip["clip_id"]: clip for clip in read_rows(SPEECH)} if shards else {}
    jobs = []
    for path, questions in sorted(shards.items()):
        taught = {question.item["clip_id"] for question in questions if question.reference is not None and question.row["split"] in MEASURED}
        jobs.append(Job(params, revision, path, questions, [clips[clip_id] for clip_id in sorted(taught)]))
    return jobs


def _report(table: list[Row]) -> None:
    by_snr: dict[float, list[bool]] = defaultdict(list)
    for row in table:
        if row["student_correct"] is not None:
            by_snr[row["snr_db"]].append(row["student_correct"])
    for snr_db, right in sorted(by_snr.items()):
        log.info("difficulty: %+g dB: the un-adapted student is right on %.1f %% of %d questions", snr_db, 100 * sum(right) / len(right), len(right))
    refused = sum(row["refused"] is not None for row in table)
    if refused:
        log.info("difficulty: %d questions are refused: their mixture is longer than the model's window (column refused)", refused)
