"""Pseudo-GTs by an LLM that reads metadata: what it may write, what is refused, what is asked again, and what is never asked twice."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pseudo_gt_stand_in import Author, good, read_prompt, right

from tasks.common.errors import UserError
from tasks.common.tables import read_rows, write_parquet
from tasks.engines import EngineError
from tasks.items.answers import parse_answer
from tasks.pseudo_gt import stage, writing
from tasks.pseudo_gt.prompting import metadata_of
from tasks.references import parts
from tasks.references import stage as references
from tests import teacher_side

TEMPLATE = Path("catalogs/questions/templates/pseudo_gt.jinja")
ITEMS = 18  # six utterances with two questions, six noise clips with one


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("author")
    teacher_side.build(root)
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)
    set_params(source="metadata")
    return folder


def set_params(**values: Any) -> None:
    Path("profiles/tiny.yaml").write_text(yaml.safe_dump({"pseudo_gt": values}))


def use(monkeypatch: pytest.MonkeyPatch, author: Author) -> Author:
    monkeypatch.setattr(writing, "shared_generator", lambda *args, **options: author)
    return author


def tables() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """(Pseudo-GTs, exclusions) by item."""
    rows, excluded = ({row["item_id"]: row for row in read_rows(path)} for path in (stage.PSEUDO_GT, stage.EXCLUDED))
    return rows, excluded


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*stage.PSEUDO_GT.iterdir(), stage.EXCLUDED]}


def test_a_good_author_writes_every_item_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    author = use(monkeypatch, Author(good))
    counts = stage.run()
    rows, excluded = tables()
    assert len(rows) == ITEMS and not excluded
    assert counts.done == {"pseudo_gt": ITEMS, "excluded": 0, "generations": len(author.asked)}
    assert len({prompt for prompt, _ in author.asked}) == len(author.asked), "items of one prompt share its reply"
    for item in read_rows(stage.ITEMS):
        row = rows[item["item_id"]]
        assert row["author"].startswith("models/backbone@")
        assert parse_answer(row["text"], item["options"]) == item["answer"]
        heard = item["transcript"] if item["task"] != "background" else "A steady sound."
        assert row["text"] == f"<think> {heard} </think><answer> {item['answer']} </answer>"

    before = outputs()
    silent = use(monkeypatch, Author(good))
    assert stage.run().done["generations"] == 0 and silent.asked == []
    assert outputs() == before


def test_each_misbehaviour_is_left_out_with_its_reason_and_only_a_wrong_form_is_asked_for_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: dict[str, str] = {
        "not_json": "well, lamp I think",
        "schema": '{"answer": "a house"}',
        "refusal": "I'm sorry, I cannot listen to audio.",
        "contradiction": "",
        "too_long": "so " * 1000,
    }

    def behaviour(prompt: str, attempt: int) -> str:
        way = way_of(prompt)
        if way == "contradiction":
            known = right(prompt)
            return json.dumps(known | {"answer": next(option for option in read_prompt(prompt)["options"] if option != known["answer"])})
        return ways.get(way, good(prompt, attempt))

    def way_of(prompt: str) -> str:
        return [*ways, "good"][sorted(prompts).index(prompt) % 6]

    scout = use(monkeypatch, Author(good))
    stage.run()
    prompts = {prompt for prompt, _ in scout.asked}
    reset()
    author = use(monkeypatch, Author(behaviour))
    stage.run()
    attempts = Counter(prompt for prompt, _ in author.asked)
    assert {way_of(prompt) for prompt in prompts} == {*ways, "good"}
    assert all(attempts[prompt] == (3 if way_of(prompt) in ("not_json", "schema") else 1) for prompt in prompts)
    rows, excluded = tables()
    assert rows.keys() | excluded.keys() == {item["item_id"] for item in read_rows(stage.ITEMS)} and not rows.keys() & excluded.keys()
    assert {row["reason"] for row in excluded.values()} == set(ways)
    for row in excluded.values():
        assert row["text"] == row["reply"] and row["attempt"] == (2 if row["reason"] in ("not_json", "schema") else 0)
        assert row["text"] == ways[row["reason"]] or row["reason"] == "contradiction"

    again = use(monkeypatch, Author(behaviour))
    before = outputs()
    assert stage.run().done["generations"] == 0 and again.asked == [] and outputs() == before


def reset() -> None:
    shutil.rmtree(stage.PSEUDO_GT)
    stage.EXCLUDED.unlink()


def test_a_form_that_comes_right_later_is_kept_and_fewer_attempts_forget_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(prompt: str, attempt: int) -> str:
        return good(prompt, attempt) if attempt == 2 else "hm"

    author = use(monkeypatch, Author(late))
    stage.run()
    rows, excluded = tables()
    assert len(rows) == ITEMS and {row["attempt"] for row in rows.values()} == {2}
    asked = len(author.asked)
    assert asked % 3 == 0

    set_params(source="metadata", author={"attempts": 1})
    stage.run()
    rows, excluded = tables()
    assert not rows and {row["reason"] for row in excluded.values()} == {"not_json"}
    assert len(author.asked) == asked + asked // 3
    # More attempts go on from where it stopped.
    set_params(source="metadata", author={"attempts": 3})
    stage.run()
    assert len(tables()[0]) == ITEMS and len(author.asked) == 2 * asked


def test_an_author_that_fails_on_the_way_is_asked_for_the_rest_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CHUNK", 4)
    set_params(source="metadata", author={"engine": "openai"})
    whole = use(monkeypatch, Author(good))
    stage.run()
    expected = outputs()
    reset()
    failing = use(monkeypatch, Author(good, fails_at=7))
    with pytest.raises(EngineError, match="timed out"):
        stage.run()
    healthy = use(monkeypatch, Author(good))
    stage.run()
    assert sorted(failing.asked + healthy.asked) == sorted(whole.asked) and len(failing.asked) == 7
    assert outputs() == expected and not stage.PARTS.exists()


def test_a_changed_template_metadata_or_decoding_asks_again_and_nothing_else_does(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    author = use(monkeypatch, Author(good))
    stage.run()
    every = len(author.asked)

    def asked_by_a_run() -> int:
        before = len(author.asked)
        stage.run()
        return len(author.asked) - before

    set_params(source="metadata", corrupt_share=0.5, shards=3, author={"engine": "vllm"})
    assert asked_by_a_run() == 0
    assert 0 < sum(row["corrupted"] for row in tables()[0].values()) < ITEMS
    speech = read_rows(Path("data/catalog/speech.parquet"))
    speech[0]["metadata"] = '{"emotion": "calm"}'
    write_parquet(Path("data/catalog/speech.parquet"), speech, teacher_side.SPEECH)
    assert asked_by_a_run() == 2
    assert "emotion: calm" in author.asked[-1][0]
    # Another clip says the same words, so the prompts without the emotion are still needed.
    set_params(source="metadata", author={"max_new_tokens": 200})
    assert asked_by_a_run() == every + 2
    TEMPLATE.write_text(TEMPLATE.read_text() + "Be brief.")
    assert asked_by_a_run() == every + 2


def test_the_answers_to_a_corpus_own_questions_are_not_told() -> None:
    clip = {"metadata": json.dumps({"questions": [{"answer": "tree"}], "emotion": "calm"}), "speaker": "ann", "noise_type": None, "duration_s": 1.5}
    assert metadata_of(clip) == {"emotion": "calm", "speaker": "ann", "duration_s": 1.5}


def test_a_planted_error_leaves_the_thought_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Author(good))
    set_params(source="metadata", corrupt_share=1.0)
    stage.run()
    rows, _ = tables()
    for item in read_rows(stage.ITEMS):
        row = rows[item["item_id"]]
        assert row["corrupted"] and parse_answer(row["text"], item["options"]) not in (item["answer"], None)
        assert json.loads(row["reply"])["think"] in row["text"] and json.loads(row["reply"])["answer"] == item["answer"]


def test_the_transformers_engine_as_author_end_to_end(project: Path) -> None:
    """A random model writes no JSON: all eight prompts go unanswered, and a second run does not ask again."""
    set_params(source="metadata", author={"attempts": 2, "max_new_tokens": 8})
    counts = stage.run()
    assert counts.done["generations"] >= 8 and counts.done["pseudo_gt"] == 0
    _, excluded = tables()
    assert len(excluded) == ITEMS and {row["reason"] for row in excluded.values()} <= {"not_json", "too_long", "context_overflow"}
    assert stage.run().done["generations"] == 0


def write_references(answers: dict[str, str | None]) -> None:
    """References to the items in `answers`."""
    blank = dict.fromkeys(references.SCHEMA.names)
    rows = [
        {
            **blank,
            "item_id": item_id,
            "key": "k",
            "teacher": "models/backbone@r",
            "text": f"I hear {answer}",
            "answer": answer,
            "finish_reason": "stop",
        }
        for item_id, answer in answers.items()
    ]
    write_parquet(references.REFERENCES / "0000.parquet", rows, references.SCHEMA)


def test_the_audio_source_takes_what_the_teacher_said(project: Path) -> None:
    items = [item for item in read_rows(stage.ITEMS) if item["task"] != "background"]
    write_references({item["item_id"]: "boat" for item in items})
    set_params(source="audio")
    counts = stage.run()
    rows, excluded = tables()
    assert counts.done == {"pseudo_gt": 12, "excluded": 6, "generations": 0}
    assert {row["text"] for row in rows.values()} == {"I hear boat"} and {row["author"] for row in rows.values()} == {"models/backbone@r"}
    assert {row["reason"] for row in excluded.values()} == {"no_reference"}


def test_consensus_keeps_what_both_answer(project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    items = [item for item in read_rows(stage.ITEMS) if item["task"] != "background"]
    wrong = {item["item_id"] for item in items[:3]}
    write_references({item["item_id"]: "nothing" if item["item_id"] in wrong else item["answer"] for item in items})
    set_params(source="consensus")
    author = use(monkeypatch, Author(good))
    with caplog.at_level("INFO", logger="dinproof"):
        stage.run()
    rows, excluded = tables()
    assert rows.keys() == {item["item_id"] for item in items} - wrong
    assert {item_id for item_id, row in excluded.items() if row["reason"] == "no_consensus"} == wrong
    assert Counter(row["reason"] for row in excluded.values()) == {"no_consensus": 3, "no_reference": 6}
    assert all("Kind of sound" not in prompt for prompt, _ in author.asked), "what the teacher cannot confirm is not written"
    assert "author and clean-audio teacher agree on 75.0 % of 12 items" in caplog.text
    assert stage.run().done["generations"] == 0


@pytest.mark.parametrize("source", ["audio", "consensus"])
def test_without_references_the_user_is_told_what_to_run(project: Path, source: str) -> None:
    set_params(source=source)
    with pytest.raises(UserError, match=rf"data/references: no references, and source '{source}' needs them\. Run python -m tasks\.references"):
        stage.run()


def test_mistakes_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message() -> str:
        with pytest.raises(UserError) as caught:
            stage.run()
        return str(caught.value)

    set_params(source="telepathy")
    assert "'source' is 'telepathy': Input should be 'template', 'metadata', 'audio' or 'consensus'" in message()
    set_params(source="metadata", author={"model": "models/none"})
    assert "models/none: no model here" in message()
    set_params(source="metadata", author={"prompt": "catalogs/none.jinja"})
    assert "catalogs/none.jinja: no such prompt template" in message()
    set_params(source="metadata")
    good_template = TEMPLATE.read_text()
    TEMPLATE.write_text(good_template + "{{ metadata.emotion }}")
    assert "has no attribute 'emotion'. Known fields: task, question, options, answer, transcript, metadata.duration_s" in message()
    TEMPLATE.write_text("one\n{% if %}")
    assert "pseudo_gt.jinja, line 2: not a Jinja template" in message()
    TEMPLATE.write_text("{{ ''.__class__.__mro__ }}")
    assert "unsafe" in message()
    TEMPLATE.write_text(good_template)
    use(monkeypatch, Author(good, context=10))
    stage.run()
    assert {row["reason"] for row in tables()[1].values()} == {"context_overflow"}
