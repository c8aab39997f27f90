"""The hints of the CAAD comparison: an error sits where the question asks and nowhere else, and the others give nothing away."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.results.hints import HINTS, TASKS, hinted, misheard
from tasks.items.build import number_word

VOCABULARY = ["apple", "boat", "chair", "dog", "fish", "garden", "house", "lamp"]


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A question about one to three distinct words."""
    words = draw(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3, unique=True))
    task = draw(st.sampled_from(TASKS))
    if task == "count":
        answer, options = number_word(len(words)), ["one", "two", "three"]
    else:
        answer = words[0] if task == "first" else words[-1]
        others = [word for word in VOCABULARY if word != answer]
        options = [answer, *draw(st.lists(st.sampled_from(others), min_size=1, max_size=3, unique=True))]
    known = {"item_id": draw(st.text("0123456789abcdef", min_size=16, max_size=16)), "transcript": " ".join(words)}
    return {**known, "task": task, "answer": answer, "options": options, "prompt": f"{task} word?"}


@settings(max_examples=150, deadline=None)
@given(rows())
def test_a_misheard_transcript_makes_another_option_right_and_keeps_the_rest(row: dict[str, Any]) -> None:
    said, wrong = row["transcript"].split(), misheard(row, VOCABULARY)
    told = {"first": lambda: wrong[0], "last": lambda: wrong[-1], "count": lambda: number_word(len(wrong))}[row["task"]]()
    assert told in row["options"] and told != row["answer"]
    if row["task"] == "count":
        shorter, longer = sorted((said, wrong), key=len)
        assert len(longer) == len(shorter) + 1 and any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))
    else:
        rest = slice(1, None) if row["task"] == "first" else slice(None, -1)
        assert wrong[rest] == said[rest]
    assert misheard(row, VOCABULARY) == wrong, "the row alone decides"


@settings(max_examples=50, deadline=None)
@given(rows())
def test_every_hint_ends_in_the_question_and_a_note_names_neither_words_nor_options(row: dict[str, Any]) -> None:
    put = {kind: hinted(row, kind, VOCABULARY) for kind in HINTS}
    assert all(prompt.endswith(row["prompt"]) for prompt in put.values()) and len(set(put.values())) == len(HINTS)
    assert put["neutral"] == row["prompt"] and row["transcript"] in put["faithful"]
    noted = put["irrelevant"].removeprefix("note: ").split(".")[0].split()
    assert len(noted) == 2 and not set(noted) & {*row["transcript"].split(), *row["options"]}
