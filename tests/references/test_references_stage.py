"""The references stage: who is asked, what is left out, and what is not asked again."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.common.errors import UserError
from tasks.common.fanout import in_process, in_workers
from tasks.common.tables import read_rows, write_parquet
from tasks.references import stage
from tasks.references.answering import key_of
from tests import teacher_side

ITEMS = Path("data/items.parquet")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("references")
    teacher_side.build(root)
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*stage.REFERENCES.iterdir(), stage.EXCLUDED]}


def test_every_item_is_answered_or_left_out_with_a_reason(project: Path) -> None:
    counts = stage.run(fan_out=in_process)
    items = {item["item_id"]: item for item in read_rows(ITEMS)}
    references = {row["item_id"]: row for row in read_rows(stage.REFERENCES)}
    excluded = {row["item_id"]: row["reason"] for row in read_rows(stage.EXCLUDED)}
    assert references.keys() | excluded.keys() == items.keys()
    assert not references.keys() & excluded.keys()
    long_clips = {row["clip_id"] for row in read_rows(Path("data/catalog/speech.parquet")) if row["duration_s"] > 2.0}
    for item_id, item in items.items():
        expected = "no_clean_reference" if item["task"] == "background" else "longer_than_window" if item["clip_id"] in long_clips else None
        assert excluded.get(item_id) == expected
    for row in references.values():
        assert row["correct"] == (row["answer"] == items[row["item_id"]]["answer"])
        assert len(row["token_ids"]) == len(row["token_logprobs"]) > 0
        assert max(row["token_logprobs"]) <= 0.0
        assert row["teacher"].startswith("models/backbone@")
    assert counts.done == {"references": 10} and counts.reused == {"references": 0}


def test_nothing_is_asked_twice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(fan_out=in_process)
    before = outputs()

    def no_work(work: Any, jobs: Any, label: str) -> list[Any]:
        assert not jobs
        return []

    counts = stage.run(fan_out=no_work)
    assert counts.done == {"references": 0} and counts.reused == {"references": 10}
    assert outputs() == before


def test_a_new_item_costs_one_answer_and_equals_a_build_from_nothing(project: Path) -> None:
    items = read_rows(ITEMS)
    write_parquet(ITEMS, items[1:], teacher_side.ITEMS)
    stage.run(fan_out=in_process)
    write_parquet(ITEMS, items, teacher_side.ITEMS)
    assert stage.run(fan_out=in_process).done == {"references": 1}
    incremental = outputs()
    shutil.rmtree(stage.REFERENCES)
    stage.EXCLUDED.unlink()
    assert stage.run(fan_out=in_process).done == {"references": 10}
    assert outputs() == incremental


def test_workers_and_item_order_change_no_byte(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(fan_out=in_process)
    before = outputs()
    shutil.rmtree(stage.REFERENCES)
    stage.EXCLUDED.unlink()
    write_parquet(ITEMS, read_rows(ITEMS)[::-1], teacher_side.ITEMS)
    monkeypatch.setenv("WORKERS", "2")
    monkeypatch.setenv("PYTHONPATH", str(teacher_side.ROOT))
    stage.run(fan_out=in_workers)
    assert outputs() == before


def test_a_changed_model_asks_again(project: Path) -> None:
    stage.run(fan_out=in_process)
    (project / "models/backbone/train_log.jsonl").write_text("{}\n")
    assert stage.run(fan_out=in_process).done == {"references": 0}
    template = project / "models/backbone/chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert stage.run(fan_out=in_process).done == {"references": 10}


def test_the_key_names_everything_a_response_depends_on() -> None:
    item = {"clip_id": "c", "question": "first word?", "options": ["a", "b"]}
    keys = [
        key_of(item, "r", 24),
        key_of({**item, "clip_id": "d"}, "r", 24),
        key_of({**item, "question": "last word?"}, "r", 24),
        key_of({**item, "options": ["b", "a"]}, "r", 24),
        key_of(item, "s", 24),
        key_of(item, "r", 25),
    ]
    assert len(set(keys)) == len(keys)


def test_without_a_model_the_user_is_told_what_to_run(project: Path) -> None:
    shutil.rmtree("models/backbone")
    with pytest.raises(UserError, match=r"models/backbone: no model here.*python -m tasks\.backbone"):
        stage.run(fan_out=in_process)
