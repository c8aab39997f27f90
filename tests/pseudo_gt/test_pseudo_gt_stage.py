"""The pseudo_gt stage: what the template author writes, and the errors planted on purpose."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.backbone.model import build_processor
from tasks.common.tables import read_rows, write_parquet
from tasks.items.answers import parse_answer
from tasks.pseudo_gt import stage
from tasks.pseudo_gt.template import is_corrupted, write
from tests import teacher_side

OPTIONS = ["lamp", "tree", "boat", "cow"]
ITEM = {"item_id": "a", "transcript": "lamp tree", "answer": "tree", "options": OPTIONS}


def test_the_response_states_transcript_and_answer() -> None:
    assert write(ITEM, 0.0) == ("<think> lamp tree </think><answer> tree </answer>", False)


def test_a_background_item_has_no_transcript_to_state() -> None:
    assert write({**ITEM, "transcript": "", "answer": "boat"}, 0.0) == ("<think> </think><answer> boat </answer>", False)


@given(st.text(min_size=1), st.sampled_from(OPTIONS), st.floats(0, 1))
def test_a_planted_error_is_another_option_and_known(item_id: str, answer: str, share: float) -> None:
    text, corrupted = write({**ITEM, "item_id": item_id, "answer": answer}, share)
    chosen = parse_answer(text, OPTIONS)
    assert chosen is not None
    assert (chosen != answer) == corrupted == is_corrupted({"item_id": item_id, "options": OPTIONS}, share)
    assert text.startswith("<think> lamp tree </think>")


def test_the_share_is_met_and_a_larger_one_only_adds() -> None:
    items = [{**ITEM, "item_id": str(number)} for number in range(4000)]
    some = {item["item_id"] for item in items if write(item, 0.15)[1]}
    more = {item["item_id"] for item in items if write(item, 0.3)[1]}
    assert some < more
    assert abs(len(some) / 4000 - 0.15) < 4 * (0.15 * 0.85 / 4000) ** 0.5


def test_a_single_option_cannot_be_wrong() -> None:
    assert not write({**ITEM, "options": ["tree"]}, 1.0)[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/tiny.yaml").write_text("{}\n")
    (tmp_path / "params.yaml").write_text("profile: tiny\npseudo_gt: {author: template, tokenizer: tok, corrupt_share: 0.0, shards: 3}\n")
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
    assert {row["item_id"] for row in rows} == items and counts.done == {"pseudo_gt": len(items)}
    for row in rows:
        assert row["token_ids"][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(row["token_ids"][:-1]) == row["text"]


def test_two_runs_give_the_same_bytes_and_old_shards_go(project: Path) -> None:
    stage.run()
    before = {path.name: path.read_bytes() for path in stage.PSEUDO_GT.iterdir()}
    (stage.PSEUDO_GT / "0099.parquet").write_bytes(b"")
    write_parquet(stage.ITEMS, read_rows(stage.ITEMS)[::-1], teacher_side.ITEMS)
    stage.run()
    assert {path.name: path.read_bytes() for path in stage.PSEUDO_GT.iterdir()} == before
