"""The pseudo_gt stage: what the template author writes, and the errors planted on purpose."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.backbone.model import build_processor
from tasks.common.tables import read_rows, write_parquet
from tasks.items.answers import parse_answer
from tasks.pseudo_gt import stage
from tasks.pseudo_gt.planting import is_corrupted, planted
from tasks.pseudo_gt.template import stated
from tests import teacher_side

OPTIONS = ["lamp", "tree", "boat", "cow"]
ITEM = {"item_id": "a", "transcript": "lamp tree", "answer": "tree", "options": OPTIONS}


def test_the_response_states_transcript_and_answer() -> None:
    assert stated(ITEM) == "<think> lamp tree </think><answer> tree </answer>"


def test_a_background_item_has_no_transcript_to_state() -> None:
    assert stated({**ITEM, "transcript": "", "answer": "boat"}) == "<think> </think><answer> boat </answer>"


@given(st.text(min_size=1), st.sampled_from(OPTIONS), st.sampled_from(OPTIONS))
def test_a_planted_error_is_another_option_whatever_was_answered(item_id: str, answer: str, said: str) -> None:
    item = {**ITEM, "item_id": item_id, "answer": answer}
    text = planted(item, f"<think> lamp tree </think><answer> {said} </answer>")
    assert parse_answer(text, OPTIONS) not in (answer, None)
    assert text.startswith("<think> lamp tree </think>")


def test_an_error_planted_in_a_free_response_is_in_the_form() -> None:
    assert re.fullmatch(r"<think> </think><answer> (lamp|boat|cow) </answer>", planted(ITEM, "The last word is tree."))


def test_the_share_is_met_and_a_larger_one_only_adds() -> None:
    items = [{**ITEM, "item_id": str(number)} for number in range(4000)]
    some = {item["item_id"] for item in items if is_corrupted(item, 0.15)}
    more = {item["item_id"] for item in items if is_corrupted(item, 0.3)}
    assert some < more
    assert abs(len(some) / 4000 - 0.15) < 4 * (0.15 * 0.85 / 4000) ** 0.5


def test_a_single_option_cannot_be_wrong() -> None:
    assert not is_corrupted({**ITEM, "options": ["tree"]}, 1.0)


def test_which_errors_are_planted_never_changes() -> None:
    """Values of the first release: what was trained on planted errors stays comparable."""
    items = [{**ITEM, "item_id": str(number)} for number in range(4)]
    assert [is_corrupted(item, 0.5) for item in items] == [True, False, False, True]
    assert [parse_answer(planted(item, stated(item)), OPTIONS) for item in items] == ["lamp", "cow", "boat", "cow"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/tiny.yaml").write_text("{}\n")
    params = yaml.safe_load((teacher_side.ROOT / "params.yaml").read_text())["pseudo_gt"] | {"tokenizer": "tok", "shards": 3}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "corpora", "pseudo_gt": params}))
    build_processor([f" {word}" for word in teacher_side.WORDS], 2).save_pretrained("tok")
    rows = [teacher_side.clip("speech", "train", number, 1.0)[0] for number in range(3)]
    items = [teacher_side.item(row, task, f"{task}?", "lamp") for row in rows for task in ("first", "last", "background")]
    write_parquet(Path("data/items.parquet"), items, teacher_side.ITEMS)
    return tmp_path


def test_tokens_are_the_text_and_the_end_of_the_turn(project: Path) -> None:
    counts = stage.run()
    tokenizer = stage.load_tokenizer(Path("tok"))
    rows = read_rows(stage.PSEUDO_GT)
    items = {item["item_id"] for item in read_rows(stage.ITEMS)}
    assert {row["item_id"] for row in rows} == items and counts.done == {"pseudo_gt": len(items), "excluded": 0, "generations": 0}
    for row in rows:
        assert row["author"] == "template" and row["key"] is None and not row["corrupted"]
        assert row["token_ids"][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(row["token_ids"][:-1]) == row["text"]


def test_two_runs_give_the_same_bytes_and_old_shards_go(project: Path) -> None:
    stage.run()
    before = {path.name: path.read_bytes() for path in stage.PSEUDO_GT.iterdir()}
    (stage.PSEUDO_GT / "0099.parquet").write_bytes(b"")
    write_parquet(stage.ITEMS, read_rows(stage.ITEMS)[::-1], teacher_side.ITEMS)
    stage.run()
    assert {path.name: path.read_bytes() for path in stage.PSEUDO_GT.iterdir()} == before


def test_a_response_longer_than_allowed_is_left_out(project: Path) -> None:
    Path("profiles/tiny.yaml").write_text("pseudo_gt: {max_tokens: 7}\n")
    stage.run()
    rows, excluded = read_rows(stage.PSEUDO_GT), read_rows(stage.EXCLUDED)
    assert len(rows) + len(excluded) == len(read_rows(stage.ITEMS)) and rows and excluded
    assert {row["reason"] for row in excluded} == {"too_long"} and all(len(row["token_ids"]) <= 7 for row in rows)
