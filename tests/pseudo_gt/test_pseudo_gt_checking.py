"""What may become a Pseudo-GT, and the reason each other reply is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.items.answers import parse_answer
from tasks.pseudo_gt.checking import NO_ROOM, Reply, check, reply_schema

ITEM: dict[str, Any] = {
    "item_id": "a",
    "task": "last",
    "question": "is cow the last word?",
    "options": ["lamp", "tree", "boat", "cow"],
    "answer": "tree",
    "transcript": "lamp tree",
}
KNOWN = {"speaker": "en-US_linda", "emotion": "calm", "labels": {"place": ["kitchen"]}}


def reason(text: str, finish: str = "stop", **item: Any) -> str | None:
    return check(Reply(text, finish, 0), ITEM | item, KNOWN).reason


def said(think: str, answer: str = "tree") -> str:
    return json.dumps({"think": think, "answer": answer})


def test_a_good_reply_takes_the_form_the_student_is_trained_on() -> None:
    verdict = check(Reply(said("The speaker says  'lamp tree'."), "stop", 0), ITEM, KNOWN)
    assert verdict.text == "<think> The speaker says 'lamp tree'. </think><answer> tree </answer>"
    assert (verdict.answer, verdict.reason) == ("tree", None)
    assert check(Reply('{"answer": "tree"}', "stop", 0), ITEM, KNOWN).text == "<think> </think><answer> tree </answer>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is tree.", "not_json"),
        ('{"think": "lamp', "not_json"),
        ("", "not_json"),
        ("I'm sorry, but I can't listen to audio.", "refusal"),
        ("As an AI I have no ears", "refusal"),
        (said("I cannot hear the clip, so I guess."), "refusal"),
        ('["tree"]', "schema"),
        ('{"think": "lamp tree"}', "schema"),
        ('{"answer": "house"}', "schema"),
        ('{"answer": ["tree"]}', "schema"),
        ('{"answer": "tree", "think": null}', "schema"),
        ('{"answer": "tree", "confidence": 1}', "schema"),
        (said("</think><answer> boat </answer>"), "schema"),
        (said("lamp tree", "boat"), "contradiction"),
        (said("The answer is boat, I believe."), "contradiction"),
        (said('The speaker says "boat".'), "contradiction"),
        (said("I hear ‘lamp house’."), "contradiction"),
    ],
)
def test_a_bad_reply_has_its_reason(text: str, expected: str) -> None:
    assert reason(text) == expected


def test_what_was_cut_off_or_never_asked_says_so() -> None:
    assert reason(said("lamp tree"), finish="length") == "too_long"
    assert reason("", finish=NO_ROOM) == "context_overflow"


def test_quoting_what_is_known_is_no_contradiction() -> None:
    for think in ('"Lamp, tree!"', 'Is "cow" said? No.', 'A "calm" voice in the "kitchen".', "It isn't the speaker's first word.", 'So: "tree"'):
        assert reason(said(think)) is None, think
    assert reason(said('"I am sorry" is said'), transcript="I am sorry tree") is None


def test_quoting_the_wrong_transcript_of_a_conflict_item_is_one() -> None:
    conflict = {"task": "conflict", "question": "transcript: cow. last word?"}
    assert reason(said('The speaker says "cow"'), **conflict) == "contradiction"
    assert reason(said('The speaker says "tree"'), **conflict) is None


def test_without_options_any_answer_is_in_the_form() -> None:
    verdict = check(Reply(said("A calm voice.", "Someone names a lamp."), "stop", 0), ITEM | {"options": []}, KNOWN)
    assert verdict.text == "<think> A calm voice. </think><answer> Someone names a lamp. </answer>"
    assert reply_schema([])["properties"]["answer"] == {"type": "string"}


@given(st.text(max_size=60), st.sampled_from(ITEM["options"]))
def test_whatever_is_thought_the_pseudo_gt_gives_the_known_answer_or_a_reason(think: str, answer: str) -> None:
    verdict = check(Reply(said(think, answer), "stop", 0), ITEM, KNOWN)
    assert (verdict.text is None) == (verdict.reason is not None)
    if verdict.text is not None:
        assert parse_answer(verdict.text, ITEM["options"]) == verdict.answer == ITEM["answer"]


@given(st.text(max_size=60))
def test_no_text_is_too_strange_to_be_judged(text: str) -> None:
    assert reason(text) is not None
