"""One shard of work: the text of a model's greedy answers to some questions; and the row that such a text becomes."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common.audio import Wave
from tasks.common.seeds import content_id
from tasks.engines import Generator, Request, load_generator
from tasks.evaluate.plan import Question
from tasks.items.answers import parse_answer
from tasks.mix.read import waves_of


@dataclass(frozen=True)
class Job:
    """Questions for the model in `folder`; `revision` is the content id of that folder."""

    folder: str
    revision: str
    max_new_tokens: int
    questions: tuple[Question, ...]


def key_of(question: Question, revision: str, max_new_tokens: int) -> str:
    """Names an answer's text by all it depends on, so that one given earlier under the same key can be kept."""
    return content_id([revision, question.condition, question.mixture_id, question.item_id, question.prompt, max_new_tokens])


@lru_cache(maxsize=1)
def generator(folder: str, revision: str) -> Generator:
    """The model of a folder, kept while consecutive shards ask for the same one."""
    return load_generator("transformers", Path(folder))


def _heard(question: Question, wave: Wave) -> Wave:
    return np.zeros_like(wave) if question.condition == "silence" else wave


def answer(job: Job) -> list[str]:
    """Texts in the order of the job's questions."""
    waves = waves_of(sorted({question.mixture_id for question in job.questions}))
    requests = [Request(question.prompt, _heard(question, waves[question.mixture_id])) for question in job.questions]
    completions = generator(job.folder, job.revision).generate(requests, max_new_tokens=job.max_new_tokens)
    return [found[0].text for found in completions]


def row_of(question: Question, text: str, **more: Any) -> dict[str, Any]:
    """A row of the answers table; `more` names the method, its seed and the key."""
    chosen = parse_answer(text, question.options)
    return {
        **more,
        "condition": question.condition,
        "mixture_id": question.mixture_id,
        "item_id": question.item_id,
        "clip_id": question.clip_id,
        "noise_type": question.noise_type,
        "snr_db": question.snr_db,
        "task": question.task,
        "text": text,
        "answer": chosen,
        "target": question.target,
        "correct": chosen == question.target,
        "position": None if chosen is None else question.options.index(chosen),
        "target_position": question.options.index(question.target),
        "n_options": len(question.options),
    }
