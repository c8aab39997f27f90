"""Items of one clip: the question, its options in an order of their own, and the answer that is known to be right.

Every draw is seeded by the clip and the task, from pools that a new clip changes little, so a clip keeps its items.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.common.seeds import content_id, keys_of, rng_of, top
from tasks.items.pairs import BACKGROUND, QUESTION
from tasks.items.params import Questions
from tasks.items.prompt import text_only

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_ONES += ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_word(value: int) -> str:
    """`three`, `twenty-one`; digits from 100 on."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        return _TENS[value // 10] + (f"-{_ONES[value % 10]}" if value % 10 else "")
    return str(value)


def words_of(text: str) -> list[str]:
    """The words of a transcript, in lower case and without punctuation."""
    return re.findall(r"\w+(?:['-]\w+)*", text.replace("’", "'").casefold())


@dataclass(frozen=True)
class Pool:
    """Words that distractors are drawn from."""

    words: list[str]
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, words: Iterable[str]) -> "Pool":
        distinct = sorted(set(words))
        return cls(distinct, keys_of(distinct))

    def draw(self, count: int, taken: Iterable[str], *parts: Any) -> list[str]:
        """Up to `count` words that are not in `taken`; a word added to the pool changes only the draws it wins."""
        avoid = set(taken)
        ranked = (self.words[index] for index in top(self.keys, count + len(avoid), *parts))
        return [word for word in ranked if word not in avoid][:count]


@dataclass(frozen=True)
class Corpus:
    """What a corpus offers as distractors: words that begin or end an utterance, all words, and the longest count."""

    first: Pool
    last: Pool
    words: Pool
    longest: int

    @classmethod
    def of(cls, transcripts: Sequence[list[str]]) -> "Corpus":
        return cls(
            Pool.of(words[0] for words in transcripts),
            Pool.of(words[-1] for words in transcripts),
            Pool.of(word for words in transcripts for word in words),
            max((len(words) for words in transcripts), default=0),
        )


def item(row: Mapping[str, Any], task: str, question: str, options: Sequence[str], answer: str, transcript: str) -> dict[str, Any]:
    """A row of items.parquet; the options are shuffled by the item's own seed."""
    order = rng_of("items", "order", row["clip_id"], task, question, sorted(options)).permutation(len(options))
    return item_in_order(row, task, question, [sorted(options)[index] for index in order], answer, transcript)


def item_in_order(row: Mapping[str, Any], task: str, question: str, options: Sequence[str], answer: str, transcript: str) -> dict[str, Any]:
    """A row of items.parquet with the options as they stand."""
    return {
        "item_id": content_id([row["clip_id"], task, question, list(options), answer]),
        "clip_id": row["clip_id"],
        "question": question,
        "options": list(options),
        "answer": answer,
        "task": task,
        "transcript": transcript,
        "split": row["split"],
    }


def end_options(words: list[str], task: str, corpus: Corpus, count: int, clip_id: str) -> list[str]:
    """Options of `first` or `last`: the answer, other words of the same utterance, then words other utterances begin (end) with.

    Words of the utterance are among them so that hearing a word is not enough: its place must be heard too.
    """
    answer = words[0] if task == "first" else words[-1]
    inside = Pool.of(words).draw(max(1, count - 2), [answer], "items", "inside", clip_id, task)
    options = [answer, *inside]
    for pool in (corpus.first if task == "first" else corpus.last, corpus.words):
        options += pool.draw(count - len(options), [*words, *options], "items", "outside", clip_id, task)
    return options


def count_options(count: int, longest: int, options: int, clip_id: str) -> list[str]:
    """All counts of the corpus where they fit, else consecutive counts around the right one."""
    if longest <= options:
        return [number_word(value) for value in range(1, max(2, longest) + 1)]
    start = int(rng_of("items", "count", clip_id).integers(max(1, count - options + 1), count + 1))
    return [number_word(value) for value in range(start, start + options)]


def conflict(row: Mapping[str, Any], words: list[str], corpus: Corpus, questions: Questions, count: int) -> dict[str, Any] | None:
    """An item whose question states a transcript that is wrong exactly where it asks; the answer is what is really said.

    None where the corpus has no other word to be wrong with.
    """
    clip_id = row["clip_id"]
    rng = rng_of("items", "conflict", clip_id)
    task = ("first", "last", "count")[rng.integers(3)]
    if task == "count":
        options = count_options(len(words), corpus.longest, count, clip_id)
        near = [number for number in (len(words) - 1, len(words) + 1) if number_word(number) in options]
        extra = corpus.words.draw(1, words, "items", "extra", clip_id)
        told = near[rng.integers(len(near))]
        if told > len(words) and not extra:
            return None
        place = int(rng.integers(len(words) + (told > len(words))))
        wrong = words[:place] + words[place + 1 :] if told < len(words) else words[:place] + extra + words[place:]
        answer, question = number_word(len(words)), questions.count
    else:
        options = end_options(words, task, corpus, count, clip_id)
        if len(options) < 2:
            return None
        answer = options[0]
        lie = options[-1]
        wrong = [lie, *words[1:]] if task == "first" else [*words[:-1], lie]
        question = questions.first if task == "first" else questions.last
    return item(row, "conflict", text_only(" ".join(wrong), question), options, answer, " ".join(words))


def speech_items(row: Mapping[str, Any], corpus: Corpus, questions: Questions, count: int) -> list[dict[str, Any]]:
    """Items of one utterance: first, last, count, present, conflict; fewer where its corpus leaves nothing to choose from."""
    clip_id, words = row["clip_id"], words_of(row["text"] or "")
    if not words:
        return []
    transcript = " ".join(words)
    items = []
    for task, question in (("first", questions.first), ("last", questions.last)):
        options = end_options(words, task, corpus, count, clip_id)
        if len(options) > 1:
            items.append(item(row, task, question, options, options[0], transcript))
    items.append(item(row, "count", questions.count, count_options(len(words), corpus.longest, count, clip_id), number_word(len(words)), transcript))
    said = bool(rng_of("items", "present", clip_id).integers(2))
    unsaid = corpus.words.draw(1, words, "items", "unsaid", clip_id)
    if unsaid:
        asked = Pool.of(words).draw(1, [], "items", "said", clip_id)[0] if said else unsaid[0]
        items.append(item(row, "present", questions.present.replace("{word}", asked), ["yes", "no"], "yes" if said else "no", transcript))
    conflicting = conflict(row, words, corpus, questions, count)
    return items + ([conflicting] if conflicting else [])


def background_item(row: Mapping[str, Any], own: Pool, every: Pool, questions: Questions, count: int) -> dict[str, Any] | None:
    """What the noise of a noise clip is; distractors are types of its own corpus, then of the others. None where there is one type only.

    Its own corpus comes first, so adding a noise corpus leaves the items of the others as they are.
    """
    options = [row["noise_type"]]
    for pool in (own, every):
        options += pool.draw(count - len(options), options, "items", BACKGROUND, row["clip_id"])
    return item(row, BACKGROUND, questions.background, options, options[0], "") if len(options) > 1 else None


def question_task(published: str) -> str:
    """The task of a question that a corpus asks: `question/<its task>`, or `question`."""
    return f"{QUESTION}/{published}" if published else QUESTION


def question_items(row: Mapping[str, Any], asked: Sequence[Mapping[str, Any]], answers: Mapping[str, Pool], count: int) -> list[dict[str, Any]]:
    """Items of the questions that a corpus asks of a clip.

    Published options keep their order, so that results compare with published ones. A question without options gets the answers of other
    questions of its task (`answers`), `count` in all with its own; without any, it is no item.
    """
    items = []
    for question in asked:
        task, answer, transcript = question_task(question["task"]), question["answer"], row["text"] or ""
        if question["options"]:
            items.append(item_in_order(row, task, question["question"], question["options"], answer, transcript))
        elif others := answers[question["task"]].draw(count - 1, [answer], "items", QUESTION, row["clip_id"], question["question"]):
            items.append(item(row, task, question["question"], [answer, *others], answer, transcript))
    return items
