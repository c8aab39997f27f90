"""One shard of difficulty: the un-adapted student on some noisy mixtures, against its own answers on clean audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tasks.catalog.audio import load_clips
from tasks.common.audio import Wave, decode
from tasks.common.tables import read_rows
from tasks.difficulty.params import DifficultyParams
from tasks.engines import Generator, Request, refusal, shared_generator
from tasks.items.answers import parse_answer
from tasks.items.prompt import prompt_text

Row = dict[str, Any]
CHUNK = 64  # questions whose full next-token distributions are held at once
MEASURED = ("train", "validation")


@dataclass(frozen=True)
class Question:
    """An item asked of a mixture, with the clean reference where the item has one."""

    row: Row
    item: Row
    reference: Row | None


@dataclass(frozen=True)
class Job:
    """Questions about the mixtures of one shard, and the catalog rows of the speech clips they have references on."""

    params: DifficultyParams
    revision: str
    shard: Path
    questions: list[Question]
    clips: list[Row]


def mean_kl(teacher: torch.Tensor, student: torch.Tensor) -> float:
    """Mean over T tokens of KL(teacher || student), in nats, of two (T, vocabulary) tables of log-probabilities.

    The token alignment of EchoDistill (arXiv 2605.23954, its equation 3) with every response token counted.
    """
    p, q = teacher.double(), student.double()
    return float((p.exp() * (p - q)).sum(-1).mean().clamp(min=0.0))


def agrees(answer: str | None, reference: Row | None) -> bool | None:
    """Whether the noisy answer is the teacher's clean one; None where there is no clean answer to agree with."""
    return None if reference is None or reference["answer"] is None else answer == reference["answer"]


def measure(job: Job) -> list[Row]:
    """Rows of data/difficulty.parquet, in the order of the job's questions.

    Test questions get no answer, so that nothing is ever chosen by them; what the model's window refuses is marked in every split.
    """
    wanted = {question.row["mixture_id"] for question in job.questions}
    shard = read_rows(job.shard, ["mixture_id", "audio"], [("mixture_id", "in", wanted)])
    noisy = {row["mixture_id"]: decode(row["audio"]["bytes"])[0] for row in shard}
    clean = load_clips(job.clips) if job.clips else {}
    generator = shared_generator(job.params.engine, Path(job.params.student), job.revision)
    rows = [{**question.row, "refused": refusal(noisy[question.row["mixture_id"]], generator.window_s)} for question in job.questions]
    asked = [i for i, row in enumerate(rows) if row["refused"] is None and row["split"] in MEASURED]
    for start in range(0, len(asked), CHUNK):
        chunk = asked[start : start + CHUNK]
        for i, measured in zip(chunk, _chunk(generator, job.params, [job.questions[i] for i in chunk], noisy, clean), strict=True):
            rows[i] |= measured
    return rows


def _chunk(
    generator: Generator, params: DifficultyParams, questions: Sequence[Question], noisy: dict[str, Wave], clean: dict[str, Wave]
) -> list[Row]:
    prompts = [prompt_text(question.item["question"], question.item["options"]) for question in questions]
    heard = [Request(prompt, noisy[question.row["mixture_id"]]) for prompt, question in zip(prompts, questions, strict=True)]
    answers = [
        parse_answer(found[0].text, question.item["options"])
        for found, question in zip(generator.generate(heard, max_new_tokens=params.max_new_tokens), questions, strict=True)
    ]
    taught = [i for i, question in enumerate(questions) if question.reference is not None]
    tokens = [reference["token_ids"] for question in questions if (reference := question.reference) is not None]
    teacher = generator.distributions([Request(prompts[i], clean[questions[i].item["clip_id"]]) for i in taught], tokens)
    student = generator.distributions([heard[i] for i in taught], tokens)
    kl = {i: round(mean_kl(p, q), 6) for i, p, q in zip(taught, teacher, student, strict=True)}
    return [
        {
            "kl_to_clean": kl.get(i),
            "student_answer": answers[i],
            "student_correct": answers[i] == question.item["answer"],
            "agrees_with_clean": agrees(answers[i], question.reference),
        }
        for i, question in enumerate(questions)
    ]
