"""The difficulty stage: which items are asked of which noisy mixture and, outside the test split, how the un-adapted student fares."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.seeds import content_id, file_sha256
from tasks.common.tables import read_rows, read_schema, write_parquet
from tasks.common.versions import made_by
from tasks.difficulty.front_ends import FRONT_ENDS, front_end_rows
from tasks.difficulty.front_ends import SCHEMA as FRONT_ENDS_SCHEMA
from tasks.difficulty.measuring import Job, Question, measure
from tasks.difficulty.params import DifficultyParams
from tasks.difficulty.redraw import Redraw, noise_rows
from tasks.engines import model_revision
from tasks.items.pairs import BACKGROUND, pair
from tasks.see.basis import basis_path, load_basis

SPEECH = Path("data/catalog/speech.parquet")
ITEMS = Path("data/items.parquet")
MIXTURES = Path("data/mixtures")
REFERENCES = Path("data/references")
DIFFICULTY = Path("data/difficulty.parquet")
NOISY = pc.field("snr_db").is_valid()
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("mixture_id", "item_id", "clip_id", "split", "noise_type")),
        *((name, pa.float64()) for name in ("snr_db", "see", "feature_distance", "kl_to_clean")),
        ("student_answer", pa.string()),
        ("student_correct", pa.bool_()),
        ("agrees_with_clean", pa.bool_()),
        ("answer_again", pa.string()),
        ("flips_again", pa.bool_()),
        *((name, pa.string()) for name in ("refused", "key", "heard_key")),
    ]
)
OF_QUESTION = ("kl_to_clean", "student_answer", "student_correct", "agrees_with_clean", "answer_again", "flips_again", "refused")
OF_MIXTURE = ("see", "feature_distance")
MEASURED = ("train", "validation")  # nothing is chosen by the test split, so nothing is asked of it
AGAIN = "validation"  # the split whose noise is drawn a second time
MEASURING = ("tasks.difficulty.measuring", "tasks.engines")
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def key_of(mixture: Row, item: Row, reference: Row | None, revision: str, max_new_tokens: int, again: str | None, wanted: bool) -> str:
    """Names a measurement by all it depends on: mixture as rendered, item, reference, model, decoding, other draw, code and libraries."""
    told = None if reference is None else reference["key"]
    return content_id([mixture["recipe_hash"], item["item_id"], told, revision, max_new_tokens, again, wanted, made_by(*MEASURING)])


def run(*, fan_out: FanOut) -> Counts:
    """Write data/difficulty.parquet and data/see_front_ends.parquet; a measurement whose key is in the earlier file is kept."""
    params = load("difficulty", DifficultyParams)
    table, new = measured(params, _earlier(DIFFICULTY, SCHEMA), MEASURED, (AGAIN,), fan_out)
    write_parquet(DIFFICULTY, table, SCHEMA, row_group=65536)
    front_ends = front_end_rows(params, about_speech(table, AGAIN), _earlier(FRONT_ENDS, FRONT_ENDS_SCHEMA), fan_out)
    write_parquet(FRONT_ENDS, front_ends, FRONT_ENDS_SCHEMA)
    _report(table)
    return Counts(done={"questions": new}, reused={"questions": len(table) - new})


def _earlier(path: Path, schema: pa.Schema) -> list[Row]:
    return read_rows(path) if path.is_file() and read_schema(path).equals(schema) else []


def about_speech(table: Sequence[Row], split: str) -> list[tuple[str, Row]]:
    """(mixture id, item) of the questions of a split that were asked about the speech, not the noise."""
    items = {item["item_id"]: item for item in read_rows(ITEMS)}
    asked = [(row["mixture_id"], items[row["item_id"]]) for row in table if row["split"] == split and row["student_correct"] is not None]
    return [(mixture_id, item) for mixture_id, item in asked if item["task"] != BACKGROUND]


def measured(params: DifficultyParams, earlier: Sequence[Row], splits: Sequence[str], again: Sequence[str], fan_out: FanOut) -> tuple[list[Row], int]:
    """(the rows of every question in the order of the table, how many questions were asked anew).

    What is asked and what the encoder hears have a key each: the noise basis hangs on every noise clip of the training split, an answer on one.

    Args:
        params: of the stage.
        earlier: rows whose measurements are kept where their keys are still right.
        splits: whose questions are measured; those of the others are listed.
        again: splits whose noise is drawn a second time.
    """
    revision, basis = model_revision(params.student), basis_path(None)
    load_basis(basis)  # says at once where it is missing
    questions = _questions(params, revision, file_sha256(basis), splits, again)
    answered = {row["key"]: {name: row[name] for name in OF_QUESTION} for row in earlier}
    heard = {row["heard_key"]: {name: row[name] for name in OF_MIXTURE} for row in earlier if row["heard_key"] is not None}

    jobs = _jobs(params, revision, questions, answered.keys(), heard.keys())
    for job, found in zip(jobs, fan_out(measure, jobs, "difficulty"), strict=True):
        answered |= {question.row["key"]: row for question, row in zip(job.questions, found.questions, strict=True)}
        keys = {question.row["mixture_id"]: question.row["heard_key"] for question in questions[job.shard]}
        heard |= {keys[mixture_id]: row for mixture_id, row in found.mixtures.items()}
    every = sorted((question.row for part in questions.values() for question in part), key=lambda row: (row["mixture_id"], row["item_id"]))
    table = [row | answered[row["key"]] | heard.get(row["heard_key"], {}) for row in every]
    return table, sum(len(job.questions) for job in jobs)


def _questions(params: DifficultyParams, revision: str, basis: str, splits: Sequence[str], again: Sequence[str]) -> dict[Path, list[Question]]:
    """The questions of all splits by the shard that holds their mixtures."""
    shards: dict[str, Path] = {}
    mixtures: list[Row] = []
    for path in sorted(MIXTURES.glob("*.parquet")):
        columns = ["mixture_id", "clip_id", "noise_ids", "noise_type", "snr_db", "split", "recipe_hash", "recipe"]
        found = read_rows(path, columns, NOISY)
        shards |= {row["mixture_id"]: path for row in found}
        mixtures += found
    if not mixtures:
        raise UserError(str(MIXTURES), "no noisy mixture", "Run python -m tasks.mix, with at least one noise clip in the catalogs")
    items = {item["item_id"]: item for item in read_rows(ITEMS)}
    references = {row["item_id"]: row for row in read_rows(REFERENCES, ["item_id", "key", "token_ids", "answer"])}
    by_id = {row["mixture_id"]: row for row in mixtures}
    redraws = {split: Redraw(noise_rows(), split) for split in again}
    recipes = {row["mixture_id"]: redraws[row["split"]].recipe(row) for row in mixtures if row["split"] in redraws}
    questions: dict[Path, list[Question]] = defaultdict(list)
    for mixture_id, item_id in sorted(pair(mixtures, list(items.values()), params.items_per_mixture, params.tasks)):
        mixture, item, reference = by_id[mixture_id], items[item_id], references.get(item_id)
        row = _row(mixture, item_id)
        wanted = mixture["split"] in splits
        row["key"] = key_of(mixture, item, reference, revision, params.max_new_tokens, recipes.get(mixture_id), wanted)
        row["heard_key"] = content_id([mixture["recipe_hash"], revision, basis, made_by(*MEASURING)]) if wanted else None
        questions[shards[mixture_id]].append(Question(row, item, reference, recipes.get(mixture_id), wanted))
    return questions


def _row(mixture: Mapping[str, Any], item_id: str) -> Row:
    """A row of the table in which nothing has been measured yet."""
    blank: Row = dict.fromkeys(SCHEMA.names)
    return blank | {name: mixture[name] for name in ("mixture_id", "clip_id", "split", "noise_type", "snr_db")} | {"item_id": item_id}


def _jobs(params: DifficultyParams, revision: str, questions: Mapping[Path, list[Question]], answered: Set[str], heard: Set[str]) -> list[Job]:
    """A job for each shard with anything open: questions whose key is not in `answered`, mixtures whose key is not in `heard`."""
    clips = {clip["clip_id"]: clip for clip in read_rows(SPEECH)}
    jobs = []
    for path, part in sorted(questions.items()):
        asked = [question for question in part if question.row["key"] not in answered]
        open_ = [question.row for question in part if question.row["heard_key"] is not None and question.row["heard_key"] not in heard]
        encoded = {row["mixture_id"]: row["clip_id"] for row in open_}
        if asked or encoded:
            used = {question.row["clip_id"] for question in asked if question.wanted} | set(encoded.values())
            jobs.append(Job(params, revision, path, asked, encoded, [clips[clip_id] for clip_id in sorted(used)]))
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
