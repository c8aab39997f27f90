"""Items: every answer is right by construction, its position says nothing, and a new clip leaves the others alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import UserError
from tasks.common.params import validate
from tasks.common.seeds import content_id
from tasks.items.build import number_word, words_of
from tasks.items.pairs import pair
from tasks.items.params import ItemsParams, Questions, read_questions
from tasks.items.prompt import text_only
from tasks.items.stage import all_items

PARAMS = ItemsParams(questions=Path("catalogs/questions/words.yaml"), options=4)
VOCABULARY = ["apple", "chair", "coffee", "dog", "fish", "garden", "green", "house", "music", "paper", "window", "yellow"]


def utterance(index: int, text: str, corpus: str = "words") -> dict[str, Any]:
    return {"clip_id": content_id([corpus, index, text]), "corpus": corpus, "text": text, "split": "train"}


def noise_clip(index: int, kind: str, corpus: str = "noise") -> dict[str, Any]:
    return {"clip_id": content_id(["noise", index]), "corpus": corpus, "noise_type": kind, "split": "train"}


def utterances(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [utterance(index, " ".join(rng.choice(VOCABULARY, rng.integers(1, 4)))) for index in range(count)]


NOISE = [noise_clip(index, kind) for index, kind in enumerate(["white", "pink", "hum", "babble", "engine"] * 4)]


def right_answer(item: dict[str, Any]) -> str:
    """The answer, worked out from the transcript and the wording alone."""
    words = item["transcript"].split()
    asked = item["question"].split(". ")[-1]
    if asked == "first word?":
        return str(words[0])
    if asked == "last word?":
        return str(words[-1])
    if asked == "how many words?":
        return ["one", "two", "three", "four", "five"][len(words) - 1]
    return "yes" if asked.split()[1] in words else "no"


def test_items_answers_are_right_and_stand_once() -> None:
    items = all_items(utterances(300), NOISE, PARAMS)
    tasks = Counter(item["task"] for item in items)
    assert set(tasks) == {"first", "last", "count", "present", "conflict", "background"}
    types = {row["clip_id"]: row["noise_type"] for row in NOISE}
    for item in items:
        assert item["options"].count(item["answer"]) == 1 and len(set(item["options"])) == len(item["options"])
        assert item["answer"] == (types[item["clip_id"]] if item["task"] == "background" else right_answer(item))
        if item["task"] in ("first", "last"):
            others = set(item["transcript"].split()) - {item["answer"]}
            assert others <= set(item["options"]), "every other word of the utterance is an option"
            assert len(item["options"]) == 4
    assert len({item["item_id"] for item in items}) == len(items)


def test_items_conflict_states_a_wrong_transcript() -> None:
    conflicts = [item for item in all_items(utterances(300), [], PARAMS) if item["task"] == "conflict"]
    assert len(conflicts) > 250
    for item in conflicts:
        told = item["question"].removeprefix("transcript: ").split(". ")[0]
        asked = item["question"].split(". ")[-1]
        assert item["question"] == text_only(told, asked)
        lie = right_answer({**item, "transcript": told})
        assert lie != item["answer"] and lie in item["options"], "the hint must be a wrong option"


def test_items_positions_are_uniform() -> None:
    """Each position holds the answer in a quarter (a half) of the items; four standard errors are allowed."""
    items = all_items(utterances(2000), [], PARAMS)
    for task, count in (("first", 4), ("last", 4), ("count", 3), ("present", 2)):
        at = np.array([item["options"].index(item["answer"]) for item in items if item["task"] == task])
        shares = np.bincount(at, minlength=count) / len(at)
        error = np.sqrt((1 / count) * (1 - 1 / count) / len(at))
        assert np.all(np.abs(shares - 1 / count) < 4 * error), (task, shares)
    present = [item["answer"] for item in items if item["task"] == "present"]
    assert abs(present.count("yes") / len(present) - 0.5) < 4 * 0.5 / np.sqrt(len(present))


def test_items_of_sentences() -> None:
    texts = ["he went to the old house by the sea", "she did not know what to say about it at all", "Don't move, said twenty-two men"]
    items = all_items([utterance(index, text, "sentences") for index, text in enumerate(texts)], [], PARAMS)
    counts = [item for item in items if item["task"] == "count"]
    assert {item["answer"] for item in counts} == {"nine", "eleven", "five"}
    assert all(len(item["options"]) == 4 for item in counts)
    assert "don't" in {item["answer"] for item in items if item["task"] == "first"}


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_items_do_not_hang_on_order(random: Any) -> None:
    speech, noise = utterances(30), list(NOISE)
    expected = all_items(speech, noise, PARAMS)
    random.shuffle(speech)
    random.shuffle(noise)
    assert all_items(speech, noise, PARAMS) == expected


def test_items_of_other_clips_survive_a_new_clip_and_a_new_noise_corpus() -> None:
    speech = utterances(200)
    before = {item["item_id"] for item in all_items(speech, NOISE, PARAMS)}
    more = all_items([*speech, utterance(999, "dog fish")], [*NOISE, noise_clip(99, "sirens", "street")], PARAMS)
    assert before <= {item["item_id"] for item in more}


def test_items_need_something_to_choose_from() -> None:
    alone = all_items([utterance(0, "hello")], [noise_clip(0, "white")], PARAMS)
    assert {item["task"] for item in alone} == {"count"}
    assert all_items([utterance(0, " ?! ")], [], PARAMS) == []


def test_items_words_and_numbers() -> None:
    assert words_of("Don’t MOVE, twenty-two men!") == ["don't", "move", "twenty-two", "men"]
    assert [number_word(value) for value in (3, 20, 47, 100)] == ["three", "twenty", "forty-seven", "100"]


def test_items_wording_is_checked(tmp_path: Path) -> None:
    wording = read_questions(Path("catalogs/questions/words.yaml")).model_dump()
    with pytest.raises(UserError, match="Did you mean 'first'"):
        validate(Questions, {**wording, "frist": "?"}, "q.yaml")
    with pytest.raises(UserError, match="word"):
        validate(Questions, {**wording, "present": "is it said?"}, "q.yaml")


@settings(max_examples=50)
@given(
    st.integers(0, 4), st.sets(st.sampled_from(["first", "last", "count", "present", "conflict", "background"])), st.randoms(use_true_random=False)
)
def test_items_pairs(per_mixture: int, tasks: set[str], random: Any) -> None:
    speech = utterances(5)
    items = all_items(speech, NOISE[:5], PARAMS)
    mixtures = [
        {"mixture_id": content_id([row["clip_id"], noise]), "clip_id": row["clip_id"], "noise_ids": noise}
        for row in speech
        for noise in ([], [NOISE[0]["clip_id"]], [NOISE[0]["clip_id"], NOISE[1]["clip_id"]])
    ]
    pairs = pair(mixtures, items, per_mixture, sorted(tasks))
    by_id = {item["item_id"]: item for item in items}
    for mixture in mixtures:
        asked = [by_id[item] for name, item in pairs if name == mixture["mixture_id"]]
        alone = mixture["noise_ids"] if len(mixture["noise_ids"]) == 1 else []  # among several noises "what noise?" has several answers
        heard = {mixture["clip_id"], *alone}
        candidates = [item for item in items if item["clip_id"] in heard and item["task"] in tasks]
        assert len(asked) == min(per_mixture, len(candidates)) and all(item in candidates for item in asked)
    shuffled = list(items)
    random.shuffle(shuffled)
    assert set(pair(mixtures[::-1], shuffled, per_mixture, sorted(tasks))) == set(pairs)
