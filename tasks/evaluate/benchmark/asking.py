"""Which questions are asked on which sound, and one shard of their answers.

Every item is heard clean and with one noise clip of the catalog's test split, drawn by the content of its sound, at each SNR; with its options as
published and, where the benchmark shows them, in an order drawn from its id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import soundfile as sf

from tasks.catalog.audio import load_clips
from tasks.catalog.found import BadFileError
from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.common.seeds import choose, content_id
from tasks.common.versions import made_by
from tasks.engines import Request
from tasks.evaluate.benchmark.items import Item, Shown, shown
from tasks.evaluate.benchmark.kinds import Kind
from tasks.evaluate.benchmark.scoring import prediction_of
from tasks.evaluate.benchmark.sounds import RECIPE, in_noise, load
from tasks.evaluate.models import System, engine_of
from tasks.evaluate.params import EvaluateParams
from tasks.items.answers import parse_answer
from tasks.references.parts import ask, chunks

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """One item on one sound with its options in one order; no noise where `snr_db` is None."""

    item: Item
    clip_id: str
    order: str
    shown: Shown
    prompt: str
    snr_db: float | None = None
    noise_id: str | None = None
    noise_type: str | None = None


@dataclass(frozen=True)
class Job:
    """Questions for one system, each with its key; `noises` are rows of the catalog by id, `parts` is where responses go as they come."""

    system: System
    params: EvaluateParams
    peak: float
    parts: Path
    questions: tuple[tuple[str, Question], ...]
    noises: dict[str, Row]


@dataclass(frozen=True)
class Outcome:
    """Texts by key, and why a question was not asked."""

    texts: dict[str, str]
    refused: dict[str, str]


def plan(kind: Kind, items: Sequence[Item], clip_ids: Mapping[str, str], noises: Sequence[Row], snr_db: Sequence[float]) -> list[Question]:
    """Every question, item by item; the order of the noises does not matter.

    Args:
        kind: of the benchmark.
        items: those that can be asked.
        clip_ids: of their sounds, by `item_id`.
        noises: rows of the noise catalog, with `clip_id` and `noise_type`.
        snr_db: levels.
    """
    types = {row["clip_id"]: row["noise_type"] for row in noises}
    questions = []
    for item in items:
        clip_id = clip_ids[item.item_id]
        noise_id = choose(sorted(types), "benchmark", clip_id)
        for order in kind.orders:
            options = shown(item, order)
            question = partial(Question, item, clip_id, order, options, kind.prompt(item, options))
            questions += [question(), *(question(level, noise_id, types[noise_id]) for level in snr_db)]
    return questions


def key_of(question: Question, revision: str, max_new_tokens: int, peak: float) -> str:
    """Names a response by all it depends on."""
    noise = None if question.snr_db is None else [RECIPE, question.noise_id, question.snr_db, peak]
    made = made_by("tasks.evaluate.benchmark.asking", "tasks.engines")
    return content_id(["benchmark", revision, question.clip_id, noise, question.prompt, max_new_tokens, made])


def answer(job: Job) -> Outcome:
    """The job's answers, on disk before they are returned."""
    params, system = job.params, job.system
    generator = engine_of(params, system)
    texts: dict[str, str] = {}
    refused: dict[str, str] = {}
    for chunk in chunks(job.questions):
        waves = _waves([question for _, question in chunk], job)
        requests = {}
        for key, question in chunk:
            wave = waves[question.clip_id, question.snr_db]
            if isinstance(wave, str):
                refused[key] = wave
            else:
                requests[key] = Request(question.prompt, wave)
        reasons = generator.refusals(list(requests.values()), params.max_new_tokens)
        refused |= {key: reason for key, reason in zip(requests, reasons, strict=True) if reason is not None}
        asked = {key: request for key, request in requests.items() if key not in refused}
        with system.hearing(generator):
            found = ask(generator, asked, job.parts, max_new_tokens=params.max_new_tokens)
        texts |= {key: made[0].text for key, made in found.items()}
    return Outcome(texts, refused)


def _waves(questions: Sequence[Question], job: Job) -> dict[tuple[str, float | None], Wave | str]:
    """What is heard, by clip and SNR; a text says why nothing is."""
    sounds = {question.clip_id: question.item.sound for question in questions}
    clean = load(set(sounds.values()))
    noises = _noises(job, {question.noise_id for question in questions if question.noise_id})
    heard: dict[tuple[str, float | None], Wave | str] = {}
    for question in questions:
        place = question.clip_id, question.snr_db
        if place in heard:
            continue
        wave = clean[sounds[question.clip_id]]
        if isinstance(wave, BadFileError):
            heard[place] = wave.reason
            continue
        if question.snr_db is not None and question.noise_id is not None:
            try:
                wave = in_noise(wave, noises[question.noise_id], question.clip_id, question.noise_id, question.snr_db, job.peak)
            except ValueError:
                heard[place] = "silent_noise"
                continue
        heard[place] = job.system.heard(wave)
    return heard


def _noises(job: Job, names: set[str]) -> dict[str, Wave]:
    try:
        return load_clips([job.noises[name] for name in sorted(names)])
    except (sf.SoundFileError, OSError, BadFileError) as error:
        raise UserError(
            "benchmark", f"a noise clip of the catalog cannot be read: {error}", "Run python -m tasks.catalog, then this again"
        ) from error


def row_of(kind: Kind, system: System, question: Question, text: str, key: str) -> Row:
    """A row of the answers: the response, whether it is right by the published rule and by our own reading, and all that it answers."""
    item, options = question.item, question.shown
    prediction = prediction_of(text)
    named = dict(zip(kind.named(options.options), options.options, strict=True))
    chosen = named.get(parse_answer(text, list(named)) or "")
    return {
        "method": system.method,
        "seed": system.seed,
        "item_id": item.item_id,
        "variant": item.variant or None,
        "order": question.order,
        "condition": "clean" if question.snr_db is None else "noisy",
        "clip_id": question.clip_id,
        "noise_id": question.noise_id,
        "noise_type": question.noise_type,
        "snr_db": question.snr_db,
        "prompt": question.prompt,
        "text": text,
        "prediction": prediction,
        "published": item.answer,
        "answer": chosen,
        "target": options.answer,
        "scored": kind.score(prediction, options, item),
        "correct": None if options.place is None else chosen == options.options[options.place],
        "position": None if chosen is None else options.options.index(chosen),
        "target_position": options.place,
        "n_options": len(options.options),
        "groups": list(item.groups),
        "key": key,
    }
