"""The evaluate stage: plan the questions, collect every system's answers, write the tables and figures."""

import json
import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.tables import read_rows, read_schema, write_text
from tasks.engines.prompts import Prompts
from tasks.evaluate.answering import Answer, Job, Outcome, answer, key_of, row_of
from tasks.evaluate.grid import declared_cells, empty_cells, filtered, for_front_ends
from tasks.evaluate.models import System, systems_of
from tasks.evaluate.outputs import ANSWERS, REPORTS, write_outputs
from tasks.evaluate.params import BASE, EvaluateParams, model_folder
from tasks.evaluate.plan import Question, fits, plan
from tasks.evaluate.quality import write_quality
from tasks.evaluate.unseen import AXES, Unseen, questions_of
from tasks.mix.manifest import MANIFEST
from tasks.mix.read import mixture_rows
from tasks.references.parts import driver, read_parts

CATALOG = Path("data/catalog")
ROOMS = Path("data/rooms")
ITEMS = Path("data/items.parquet")
PARTS = REPORTS / ".answers"
LATENCY = REPORTS / "latency.json"
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def run(*, fan_out: FanOut) -> Counts:
    """Write reports/answers.parquet and all figures made of it; answers already given are kept, those of a killed run as well."""
    params = load("evaluate", EvaluateParams)
    systems = systems_of(params)
    window_s = Prompts(model_folder(BASE)).window_s
    rooms = read_rows(ROOMS, ["room_id", "source", "split"]) if any(ROOMS.glob("*.parquet")) else []
    tested, refused_clips = _tested(params, window_s, rooms)
    unseen, axes = _unseen(params, window_s, rooms)
    cells = declared_cells(tested, params)
    if empty := empty_cells(cells, tested):
        log.info("evaluate: %d of %d declared cells are empty, the first: %s", len(empty), len(cells), json.dumps(empty[0]))

    behind = for_front_ends(tested, params.front_end_share)
    asked = {system: behind if system.front_end else [*tested, *unseen] for system in systems}
    rows, refused, made = _answers(params, asked, fan_out)
    counts = {"questions": len(tested) + len(unseen), "clips_outside_window": refused_clips, "unparsed": sum(row["answer"] is None for row in rows)}
    sounds, known_sounds = write_quality(params, fan_out)
    write_outputs(pa.Table.from_pylist(rows, schema=ANSWERS), params, cells, axes, counts | {f"refused_{why}": n for why, n in refused.items()})
    shutil.rmtree(PARTS, ignore_errors=True)
    return Counts(done={"answers": made, "sounds": sounds}, reused={"answers": len(rows) - made, "sounds": known_sounds})


def _tested(params: EvaluateParams, window_s: float, rooms: Sequence[Row]) -> tuple[list[Question], int]:
    """Questions about the test split, and how many of its clips are outside the model's window."""
    speech = read_rows(CATALOG / "speech.parquet", ["clip_id", "duration_s", "text"], [("split", "=", "test"), ("kind", "=", "utterance")])
    source = {room["room_id"]: room["source"] for room in rooms}
    mixtures = [{**row, "room": source.get(row["room_id"], "none")} for row in mixture_rows(filters=[("split", "=", "test")])]
    heard, refused = fits(filtered(mixtures, params), {row["clip_id"]: row["duration_s"] for row in speech}, window_s)
    items = read_rows(ITEMS, filters=[("split", "=", "test")])
    questions = plan(heard, items, {row["clip_id"]: row["text"] for row in speech}, params)
    if not questions:
        raise UserError("test split", "no noisy mixture has a question to ask", "Check the test shares of catalog and mix, and the model's window")
    return questions, refused


def _unseen(params: EvaluateParams, window_s: float, rooms: Sequence[Row]) -> tuple[list[Question], dict[str, str | None]]:
    """Questions on the axes of generalisation, and for each axis why it has none."""
    if not params.unseen_items:
        return [], dict.fromkeys(AXES, "evaluate.unseen_items is 0")
    columns = ["clip_id", "duration_s", "text", "split", "corpus", "speaker"]
    speech = read_rows(CATALOG / "speech.parquet", columns, [("kind", "=", "utterance")])
    heard, _ = fits(speech, {row["clip_id"]: row["duration_s"] for row in speech}, window_s)
    noise = read_rows(CATALOG / "noise.parquet", ["clip_id", "split", "noise_type"])
    columns = ["mixture_id", "clip_id", "noise_type", "snr_db", "corruption", "recipe"]
    sides = Unseen(params, read_rows(MANIFEST, columns, [("split", "=", "train")]), heard, noise, rooms)
    mixtures = list(sides.mixtures(params.unseen_items))
    items = read_rows(ITEMS, filters=[("clip_id", "in", {row["clip_id"] for _, _, row in mixtures})]) if mixtures else []
    texts = {row["clip_id"]: row["text"] for row in heard}
    return questions_of(mixtures, items, texts, {room["room_id"]: room["source"] for room in rooms}), sides.reasons


def _answers(params: EvaluateParams, asked: Mapping[System, Sequence[Question]], fan_out: FanOut) -> tuple[list[Row], Counter[str], int]:
    """Rows in the order of systems and questions; how many questions were refused, by reason; and how many answers were made anew.

    A question that one of the systems cannot be asked has no row of any, so all are compared on the same questions.
    """
    keyed = {system: [(key_of(question, system.revision, params.max_new_tokens), question) for question in asked[system]] for system in asked}
    answers = _earlier()
    jobs: list[Job] = []
    for system, questions in keyed.items():
        new = [pair for pair in dict(questions).items() if pair[0] not in answers]
        for start in range(0, len(new), params.shard_size):
            jobs.append(Job(system, params, PARTS, tuple(new[start : start + params.shard_size])))
    outcomes = driver(params.engine, fan_out)(answer, jobs, "answers")
    reasons: dict[str, str] = {}
    for outcome in outcomes:
        answers |= outcome.answers
        reasons |= outcome.refused
    _write_latency(params, jobs, outcomes)

    refused = {question.place: reasons[key] for questions in keyed.values() for key, question in questions if key in reasons}
    if refused:
        log.info("evaluate: %d questions are left out: %s", len(refused), dict(Counter(refused.values())))
    rows = [
        row_of(question, answers[key], method=system.method, seed=system.seed, key=key)
        for system, questions in keyed.items()
        for key, question in questions
        if question.place not in refused
    ]
    return rows, Counter(refused.values()), sum(len(outcome.answers) for outcome in outcomes)


def _earlier() -> dict[str, Answer]:
    """Answers by key: those of the last whole run, and those that a killed one left in parts."""
    path = REPORTS / "answers.parquet"
    known = path.is_file() and "confidence" in read_schema(path).names  # an earlier version kept texts alone
    rows = read_rows(path, ["key", "text", "confidence"]) if known else []
    return {row["key"]: Answer(row["text"], row["confidence"]) for row in rows} | {key: Answer.of(made[0]) for key, made in read_parts(PARTS).items()}


def _write_latency(params: EvaluateParams, jobs: Iterable[Job], outcomes: Iterable[Outcome]) -> None:
    """Seconds by method, in reports/latency.json; of one that answered nothing this time the earlier figures stay. Times are no output of a stage."""
    spent: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for job, outcome in zip(jobs, outcomes, strict=True):
        total = spent[job.system.method]
        total[0] += len(outcome.answers)
        total[1] += outcome.seconds
    latency: dict[str, Any] = json.loads(LATENCY.read_text()) if LATENCY.is_file() else {}
    for name, (answers, seconds) in spent.items():
        if answers:
            each = round(seconds / answers, 6)
            latency[name] = {"answers": answers, "seconds": round(seconds, 3), "seconds_per_answer": each, "engine": params.engine}
    write_text(LATENCY, json.dumps(latency, indent=1, sort_keys=True) + "\n")
