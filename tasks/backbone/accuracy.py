"""How much a model understands of clean speech: greedy answers to questions about utterances, by task."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.common.audio import Wave
from tasks.engines.base import Request, load_generator
from tasks.items.answers import parse_answer

MAX_NEW_TOKENS = 24


@dataclass(frozen=True)
class Question:
    """One question about one utterance."""

    task: str
    wave: Wave
    prompt: str
    options: Sequence[str]
    answer: str


def accuracy(folder: Path, questions: Sequence[Question]) -> dict[str, float]:
    """Share of right answers by task, and over all questions as `all`; raises ValueError where there are none."""
    if not questions:
        raise ValueError("no questions to answer")
    completions = load_generator("transformers", folder).generate([Request(q.prompt, q.wave) for q in questions], max_new_tokens=MAX_NEW_TOKENS)
    right: dict[str, list[bool]] = defaultdict(list)
    for question, (completion, *_) in zip(questions, completions, strict=True):
        correct = parse_answer(completion.text, question.options) == question.answer
        for name in (question.task, "all"):
            right[name].append(correct)
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(right.items())}
