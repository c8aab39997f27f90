"""Option parsing and the reward: the cases that decide a score, and properties over arbitrary responses."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.items.answers import parse_answer, task_reward
from tasks.items.prompt import prompt_text, response_text, text_only

OPTIONS = ["lamp", "tree", "boat", "tree house"]
WORDS = st.text(string.ascii_lowercase, min_size=2, max_size=8).filter(
    lambda word: (
        word not in {"not", "nor", "never", "but", "neither", "without", "except", "cannot", "answer", "option", "choice"}
        and not word.startswith(("cho", "pick", "select"))
    )
)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("lamp", "lamp"),
        ("  Lamp. ", "lamp"),
        ("<think> tree boat </think><answer> lamp </answer>", "lamp"),
        ("<think> lamp tree", None),  # cut off inside its thoughts: no answer was given
        ("<answer> boat", "boat"),
        ("<think> lamp </think><answer> cow </answer>", None),
        ("The answer is not lamp but tree.", "tree"),
        ("The answer is: boat, although lamp is close", "boat"),
        ("The answer could be lamp. Final answer: tree", "tree"),
        ("I did not choose lamp. It is tree", "tree"),
        ("It was a tree house, I think", "tree house"),
        ("lamp and tree", None),
        ("neither lamp nor tree, boat", "boat"),
        ("It isn't lamp", None),
        ("lamp is wrong, it was boat", "boat"),
        ("boat rather than lamp", "boat"),
        ("lampshade", None),
        ("lamp-shade", None),
        ("", None),
    ],
)
def test_items_parse(text: str, chosen: str | None) -> None:
    assert parse_answer(text, OPTIONS) == chosen


@pytest.mark.parametrize("text", ["B", "(b)", "b.", "Answer: B", "The answer is (B).", "a woman", "(B) Woman", "I heard (B)"])
def test_items_parse_letters(text: str) -> None:
    assert parse_answer(text, ["(A) Man", "(B) Woman"]) == "(B) Woman"


def test_items_parse_letters_need_labels() -> None:
    assert parse_answer("A man came in", ["(A) boy", "(B) girl"]) is None
    assert parse_answer("B", ["boy", "girl"]) is None


def test_items_parse_short_options() -> None:
    assert parse_answer("no, it is not said", ["yes", "no"]) == "no"
    assert parse_answer("twenty-one", ["one", "two"]) is None


@given(st.lists(WORDS, min_size=2, max_size=5, unique=True), st.data())
def test_items_embedded_answer_is_parsed(options: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(options))
    thoughts = data.draw(st.lists(st.sampled_from(options), max_size=4))
    assert parse_answer(response_text(thoughts, answer), options) == answer
    assert parse_answer(response_text(thoughts, answer).upper(), options) == answer


@given(st.text(max_size=60), st.lists(WORDS, min_size=2, max_size=4, unique=True))
def test_items_parse_gives_an_option_or_none(text: str, options: list[str]) -> None:
    chosen = parse_answer(text, options)
    assert chosen is None or chosen in options
    assert parse_answer(text, options[::-1]) == chosen, "the order of the options must not matter"
    assert -1.0 <= task_reward(text, options, options[0]) <= 1.0


@given(st.lists(WORDS, min_size=2, max_size=4, unique=True))
def test_items_reciting_the_options_earns_nothing(options: list[str]) -> None:
    assert task_reward(" ".join(options), options, options[0]) <= 0.0


def test_items_reward() -> None:
    assert task_reward("lamp", OPTIONS, "lamp") == 1.0
    assert task_reward("boat", OPTIONS, "lamp") == -1.0
    assert task_reward("not lamp", OPTIONS, "lamp") == 0.0
    assert task_reward("a red lamp there", [], "red lamp") == 1.0
    assert task_reward("a lamp there", [], "red lamp") == 0.5
    assert task_reward("nothing", OPTIONS, "lamp") == 0.0


def test_items_prompts_have_one_form() -> None:
    prompt = prompt_text("first word?", ["lamp", "tree"])
    assert prompt == "first word? options: lamp, tree"
    hinted = prompt_text(text_only("boat tree", "first word?"), ["lamp", "tree"])
    assert hinted == text_only("boat tree", prompt), "a conflict item must read like a transcript prompt"
