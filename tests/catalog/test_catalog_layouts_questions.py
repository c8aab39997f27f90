"""A corpus of questions becomes clips with their questions, and items that ask them."""

import json
from pathlib import Path
from typing import Any

import pytest
from catalog_layouts_trees import TREES, Tree
from catalog_project import Project
from hypothesis import given
from hypothesis import strategies as st

from tasks.catalog.entry_keys import Questions
from tasks.catalog.questions import BadQuestionError, ask, split_options
from tasks.common.params import validate
from tasks.common.tables import read_rows
from tasks.items.answers import parse_answer
from tasks.items.pairs import pair
from tasks.items.stage import run as make_items

SHIPPED = Path(__file__).resolve().parents[2]
RULE = {"question": "q", "options": "o", "answer": "a", "task": "t"}


def asked(row: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return ask(validate(Questions, RULE | changes, "x.yaml"), row, {"table": "SER"})


@pytest.mark.parametrize(
    "options",
    [
        ["dog", "cat", "red bird"],
        ["(A) dog", "(B) cat", "(C) red bird"],
        ["a. dog", "b. cat", "c. red bird"],
        {"B": "cat", "A": "dog", "C": "red bird"},
        "dog\ncat\n red  bird",
        "A. dog\nB. cat\nC. red bird\n",
        "(A) dog (B) cat (C) red bird",
        "A) dog, B) cat, C) red bird",
        "dog, cat, or red bird",
        "'dog', 'cat' or 'red bird'",
        '["dog", "cat", "red bird"]',
        '{"A": "dog", "B": "cat", "C": "red bird"}',
    ],
)
@pytest.mark.parametrize("answer", ["red bird", "RED BIRD", "C", "(C)", "c.", "(C) red bird", "C. Red bird", 2, "2"])
def test_options_and_answers_in_any_form(options: Any, answer: Any) -> None:
    (one,) = asked({"q": " Which\n one? ", "o": options, "a": answer, "t": "sound"})
    assert one == {"question": "Which one?", "options": ["dog", "cat", "red bird"], "answer": "red bird", "task": "sound"}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"o": ["dog", "cat"], "a": "cow"}, "'cow' is not among the options dog, cat"),
        ({"o": ["dog", "cat"], "a": "C"}, "not among"),
        ({"o": ["dog", "cat"], "a": 2}, "not among"),
        ({"o": ["dog", "cat"], "a": -1}, "not among"),
        ({"o": ["dog", "cat"], "a": None}, "not among"),
        ({"o": ["dog"], "a": "dog"}, "1 options"),
        ({"o": None, "a": "dog"}, "0 options"),
        ({"o": ["dog", "Dog"], "a": "dog"}, "same option twice"),
        ({"o": ["dog", ""], "a": "dog"}, "1 options"),
        ({"o": ["dog", "cat"], "a": "dog", "q": " "}, "no question"),
    ],
)
def test_questions_that_cannot_be_asked(row: dict[str, Any], why: str) -> None:
    with pytest.raises(BadQuestionError, match=why):
        asked({"q": "Which?", "t": "x"} | row)


def test_a_text_that_names_an_option_beats_a_letter_or_an_index() -> None:
    assert asked({"q": "?", "o": ["1", "2", "0"], "a": 0, "t": ""})[0]["answer"] == "0"
    assert asked({"q": "?", "o": ["B", "C", "A"], "a": "A", "t": ""})[0]["answer"] == "A"


@given(st.lists(st.text("abcdefgh", min_size=2, max_size=6), min_size=2, max_size=6, unique=True), st.data())
def test_labels_lines_and_json_name_the_same_options(options: list[str], data: st.DataObject) -> None:
    forms = [options, "\n".join(options), json.dumps(options), " ".join(f"({chr(65 + index)}) {option}" for index, option in enumerate(options))]
    assert all(split_options(form) == options for form in forms)
    right = data.draw(st.sampled_from(range(len(options))))
    for form in forms:
        for answer in (options[right], chr(65 + right), right):
            assert asked({"q": "?", "o": form, "a": answer, "t": ""})[0]["answer"] == options[right]


def test_several_forms_of_one_question_and_none_without_options() -> None:
    forms = {"neutral": "{q}", "adversarial": "Description: {d} {q}"}
    found = asked({"q": "Mood?", "d": "Sad.", "a": "happy"}, question=forms, options=None, task="{table}")
    assert [(one["question"], one["task"], one["options"]) for one in found] == [
        ("Mood?", "SER neutral", []),
        ("Description: Sad. Mood?", "SER adversarial", []),
    ]


def test_a_corpus_of_questions_goes_from_the_catalog_to_items(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "catalogs").symlink_to(SHIPPED / "catalogs")
    for corpus, root in (("avqa", "AVQA"), ("mcr-bench", "MCR-BENCH"), ("dynamic-superb", "dynamic-superb")):
        (project.corpora / "questions" / root).mkdir(parents=True)
        TREES["questions", corpus][0](Tree(project.corpora / "questions" / root))
    tree = Tree(project.corpora / "questions/AVQA")
    bad = [{"video_name": "zz_10", "question_text": "Bad?", "multi_choice": ["a"], "answer": 0}, {"video_name": "zz_10", "question_text": "Worse?"}]
    tree.write("train_qa.json", json.dumps(bad))
    project.use(questions=["avqa", "mcr-bench", "dynamic-superb"])
    project.build()
    rows = {row["path"].removeprefix("questions/"): row for row in project.rows("speech")}
    assert {row["kind"] for row in rows.values()} == {"utterance"} and len(rows) == 14
    assert [row["question"] for row in json.loads(rows["AVQA/audios/-HG3_30.wav"]["metadata"])["questions"]] == ["What is heard?", "Where?"]
    assert [(row["path"], row["reason"]) for row in project.rows("quarantine")] == [("questions/AVQA/audios/zz_10.wav", "bad_question")] * 2

    params = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(params + "items: {questions: catalogs/questions/words.yaml, options: 4}\n")
    make_items()
    items = read_rows(project.root / "data/items.parquet")
    by_clip = {row["clip_id"]: path for path, row in rows.items()}
    where = sorted(by_clip[item["clip_id"]] for item in items)
    assert len(items) == 4 + 9 * 4 + 3 and set(where) == set(rows)
    for item in items:
        assert item["answer"] in item["options"] and len(set(item["options"])) == len(item["options"])
        assert parse_answer(f"The answer is {item['answer']}.", item["options"]) == item["answer"]
        assert item["split"] == rows[by_clip[item["clip_id"]]]["split"] and item["task"].startswith("question/")
    (first,) = (item for item in items if by_clip[item["clip_id"]] == "AVQA/audios/-HG3_30.wav" and item["question"] == "What is heard?")
    assert first["options"] == ["motorcycle", "clapper", "bird", "cough"] and first["answer"] == "clapper", "published options keep their order"
    mcr = [item for item in items if item["task"] == "question/SER adversarial"]
    assert len(mcr) == 3 and all(sorted(item["options"]) == ["angry", "happy", "sad"] for item in mcr), "distractors are answers of the same task"

    mixture = {"mixture_id": "m", "clip_id": first["clip_id"], "noise_ids": []}
    assert pair([mixture], items, 1, ["first"]) == [] and len(pair([mixture], items, 9, ["question"])) == 2
    make_items()
    assert read_rows(project.root / "data/items.parquet") == items
