"""One shard of work: a system's greedy answers to some questions, on disk as they come; and the row that an answer becomes."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.common.audio import Wave
from tasks.common.seeds import content_id
from tasks.common.versions import made_by
from tasks.engines import Completion, Request
from tasks.evaluate.models import System, engine_of
from tasks.evaluate.params import EvaluateParams
from tasks.evaluate.plan import READ, Question
from tasks.items.answers import parse_answer
from tasks.mix.drafts import Draft
from tasks.mix.finish import Finisher
from tasks.mix.plan import batch_of
from tasks.mix.read import mixture_waves, waves_of
from tasks.references.parts import ask, chunks

SILENT = "silent"  # the reason of a question whose mixture cannot be rendered


@dataclass(frozen=True)
class Answer:
    """A response, and the mean log-probability of its tokens where the engine gives them."""

    text: str
    confidence: float | None

    @classmethod
    def of(cls, completion: Completion) -> "Answer":
        logprobs = completion.token_logprobs
        return cls(completion.text, sum(logprobs) / len(logprobs) if logprobs else None)


@dataclass(frozen=True)
class Job:
    """Questions for one system, each with its key; answers go to the folder `parts` as they come."""

    system: System
    params: EvaluateParams
    parts: Path
    questions: tuple[tuple[str, Question], ...]


@dataclass(frozen=True)
class Outcome:
    """Answers, and reasons for having none, by key; `seconds` were spent on hearing and answering, none on loading."""

    answers: dict[str, Answer]
    refused: dict[str, str]
    seconds: float


def key_of(question: Question, revision: str, max_new_tokens: int) -> str:
    """Names an answer by all it depends on, so that one given earlier under the same key can be kept. Never the engine."""
    heard, made = question.recipe_hash, made_by("tasks.evaluate.answering", "tasks.engines")
    return content_id([revision, question.condition, heard, question.item_id, question.prompt, max_new_tokens, made])


def rendered(questions: Sequence[Question]) -> dict[str, Wave]:
    """Waves (frames,) at 16 kHz of mixtures that lie nowhere, from their recipes, through the same code and FLAC as data/mixtures."""
    recipes = {question.mixture_id: question for question in questions if question.recipe}
    if not recipes:
        return {}
    drafts = [Draft(0, "", question.noise_type, json.loads(question.recipe or "")) for question in recipes.values()]
    plan = pa.Table.from_batches([batch_of(drafts, "noise", "unseen", "cpu")])
    return mixture_waves(Finisher(plan, "cpu").rows(plan).to_pylist())


def _waves(job: Job) -> dict[str, Wave]:
    """What the system hears, by mixture; one front end's work on a mixture serves all questions about it."""
    questions = [question for _, question in job.questions if question.condition not in READ]
    stored = sorted({question.mixture_id for question in questions if not question.recipe})
    return {name: job.system.heard(wave) for name, wave in {**(waves_of(stored) if stored else {}), **rendered(questions)}.items()}


def _request(question: Question, waves: dict[str, Wave]) -> Request:
    if question.condition in READ:
        return Request(question.prompt)
    wave = waves[question.mixture_id]
    return Request(question.prompt, np.zeros_like(wave) if question.condition in ("silence", "length") else wave)


def answer(job: Job) -> Outcome:
    """Answers to the job's questions."""
    params, system = job.params, job.system
    generator = engine_of(params, system)
    start = time.perf_counter()
    waves = _waves(job)
    answers: dict[str, Answer] = {}
    refused: dict[str, str] = {}
    for chunk in chunks(job.questions):
        missing = [key for key, question in chunk if question.condition not in READ and question.mixture_id not in waves]
        refused |= dict.fromkeys(missing, SILENT)
        requests = {key: _request(question, waves) for key, question in chunk if key not in refused}
        reasons = dict(zip(requests, generator.refusals(list(requests.values()), params.max_new_tokens), strict=True))
        refused |= {key: reason for key, reason in reasons.items() if reason is not None}
        fitting = {key: request for key, request in requests.items() if key not in refused}
        with system.hearing(generator):
            found = ask(generator, fitting, job.parts, max_new_tokens=params.max_new_tokens)
        answers |= {key: Answer.of(made[0]) for key, made in found.items()}
    return Outcome(answers, refused, time.perf_counter() - start)


def row_of(question: Question, given: Answer, **more: Any) -> dict[str, Any]:
    """A row of the answers table; `more` names the method, its seed and the key."""
    chosen = parse_answer(given.text, question.options)
    copied = ("condition", "mixture_id", "item_id", "clip_id", "noise_type", "snr_db", "room", "room_id", "corruption", "axis", "task")
    return {
        **more,
        **{name: getattr(question, name) for name in (*copied, "target", "conflicting", "transcript")},
        "text": given.text,
        "answer": chosen,
        "correct": chosen == question.target,
        "position": None if chosen is None else question.options.index(chosen),
        "target_position": question.options.index(question.target),
        "n_options": len(question.options),
        "confidence": given.confidence,
    }
