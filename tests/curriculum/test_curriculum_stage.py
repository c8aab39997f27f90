"""The curriculum stage: the join, the stages, the selection, and the dataset as its users open it."""

import shutil
from pathlib import Path

import datasets
import duckdb
import pytest

from tasks.common.errors import UserError
from tasks.common.fanout import in_process
from tasks.common.tables import read_rows, write_parquet
from tasks.curriculum import stage
from tasks.curriculum.dataset import SCHEMA
from tasks.difficulty import stage as difficulty
from tasks.items.prompt import prompt_text
from tasks.pseudo_gt import stage as pseudo_gt
from tasks.references import stage as references
from tests import teacher_side

STAGES = {20.0: 1, 5.0: 2, -10.0: 3}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("curriculum")
    teacher_side.build(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        references.run(fan_out=in_process)
        pseudo_gt.run()
        difficulty.run(fan_out=in_process)
        stage.run()
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)


def rows_of(*names: str) -> list[dict[str, object]]:
    return [row for name in names for row in read_rows(stage.CURRICULUM / name)]


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in stage.CURRICULUM.rglob("*") if path.is_file()}


def test_a_row_holds_what_each_stage_knows(project: Path) -> None:
    rows = rows_of("train", "heldout")
    mixtures = {row["mixture_id"]: row for row in read_rows(Path("data/mixtures"))}
    items = {row["item_id"]: row for row in read_rows(Path("data/items.parquet"))}
    refs = {row["item_id"]: row for row in read_rows(references.REFERENCES)}
    pseudo = {row["item_id"]: row for row in read_rows(pseudo_gt.PSEUDO_GT)}
    measured = {(row["mixture_id"], row["item_id"]): row for row in read_rows(difficulty.DIFFICULTY)}
    assert rows and {row["split"] for row in rows} == {"train", "validation", "test"}
    for row in rows:
        mixture, item, ref = mixtures[row["mixture_id"]], items[row["item_id"]], refs.get(row["item_id"])
        assert row["audio"] == mixture["audio"] and row["clip_id"] == mixture["clip_id"] and row["snr_db"] == mixture["snr_db"]
        assert row["stage"] == STAGES[mixture["snr_db"]] and row["split"] == mixture["split"]
        assert row["prompt"] == prompt_text(item["question"], item["options"])
        assert (row["options"], row["answer"], row["task"]) == (item["options"], item["answer"], item["task"])
        for name in ("text", "token_ids", "token_logprobs", "correct"):
            assert row[f"reference_{name}"] == (ref[name] if ref else None)
        assert row["pseudo_gt_token_ids"] == pseudo[row["item_id"]]["token_ids"]
        assert row["kl_to_clean"] == measured[row["mixture_id"], row["item_id"]]["kl_to_clean"]
        assert row["split"] != "test" or row["student_correct"] is None
        noise = "licence of noise " + row["noise_type"].removeprefix("type")
        assert set(row["licences"]) >= {noise} and len([name for name in row["licences"] if name.startswith("licence of speech")]) == 1
        assert ("licence of room" in row["licences"]) == (mixture["room_id"] is not None)


def test_every_question_is_in_one_place(project: Path) -> None:
    kept = [(row["mixture_id"], row["item_id"]) for row in rows_of("train", "heldout")]
    left = [(row["mixture_id"], row["item_id"]) for row in rows_of("excluded.parquet")]
    asked = [(row["mixture_id"], row["item_id"]) for row in read_rows(difficulty.DIFFICULTY)]
    assert sorted(kept + left) == sorted(asked)
    assert {row["reason"] for row in rows_of("excluded.parquet")} == {"longer_than_window"}
    for name, number in (("1-easy", 1), ("2-medium", 2), ("3-hard", 3)):
        rows = rows_of(f"train/{name}.parquet")
        assert rows and {row["stage"] for row in rows} == {number} and {row["split"] for row in rows} == {"train"}


def test_two_runs_give_the_same_bytes_and_old_stages_go(project: Path) -> None:
    before = contents()
    (stage.CURRICULUM / "train/9-old.parquet").write_bytes(b"")
    stage.run()
    assert contents() == before


def test_the_gate_and_uncovered_snrs_leave_rows_out_of_training_only(project: Path) -> None:
    heldout = len(rows_of("heldout"))
    Path("catalogs/curricula/by_snr.yaml").write_text("stages: [{name: one, snr_db: [0, 10]}]\nselection: {teacher_gate: true}\n")
    asked = {row["item_id"] for row in rows_of("train/2-medium.parquet") if row["reference_correct"] is not None}
    changed = []
    for path in references.REFERENCES.glob("*.parquet"):
        rows = read_rows(path)
        for row in rows:
            row["correct"] = row["item_id"] != min(asked)
        changed += rows
        write_parquet(path, rows, references.SCHEMA)
    wrong = {row["item_id"] for row in changed if not row["correct"]}
    assert wrong == {min(asked)}
    stage.run()
    train, left = rows_of("train"), rows_of("excluded.parquet")
    assert train and {row["snr_db"] for row in train} == {5.0} and not wrong & {row["item_id"] for row in train}
    assert {row["reason"] for row in left} == {"longer_than_window", "no_stage", "teacher_wrong"}
    assert {row["split"] for row in left if row["reason"] in ("no_stage", "teacher_wrong")} == {"train"}
    assert any(row["task"] == "background" for row in rows_of("heldout"))
    assert len(rows_of("heldout")) == heldout
    assert [path.name for path in (stage.CURRICULUM / "train").iterdir()] == ["1-one.parquet"]


def test_hugging_face_datasets_opens_it(project: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    data = datasets.load_dataset(str(stage.CURRICULUM.resolve()), cache_dir=cache)
    counts = {split: part.num_rows for split, part in data.items()}
    assert counts == {
        "train": len(rows_of("train")),
        "validation": len(rows_of("heldout/validation.parquet")),
        "test": len(rows_of("heldout/test.parquet")),
    }
    assert data["train"].features["audio"] == datasets.Audio(sampling_rate=16000, decode=False)
    assert data["train"][0]["audio"]["bytes"].startswith(b"fLaC")
    hard = datasets.load_dataset(str(stage.CURRICULUM.resolve()), "hard", split="train", cache_dir=cache)
    assert set(hard["stage"]) == {3}
    parquet = datasets.load_dataset("parquet", data_dir=str(stage.CURRICULUM.resolve()), cache_dir=cache)
    assert parquet["train"].num_rows == counts["train"]


def test_duckdb_opens_it(project: Path) -> None:
    found = duckdb.sql("SELECT stage, count(*) FROM 'data/curriculum/train/*.parquet' GROUP BY ALL ORDER BY ALL").fetchall()
    rows = rows_of("train")
    assert dict(found) == {number: sum(row["stage"] == number for row in rows) for number in (1, 2, 3)}
    assert [name for name, *_ in duckdb.sql("DESCRIBE SELECT * FROM 'data/curriculum/heldout/test.parquet'").fetchall()] == SCHEMA.names


def test_the_card_counts_what_is_there(project: Path) -> None:
    text = (stage.CURRICULUM / "README.md").read_text()
    easy = rows_of("train/1-easy.parquet")
    assert f"| 1 | easy | 10 <= SNR < inf | {len(easy)} |" in text
    left = rows_of("excluded.parquet")
    assert f"| train | longer_than_window | {len(left)} |" in text
    assert "| licence of room |" in text


def test_the_card_says_what_is_owed_to_whom(project: Path) -> None:
    text = (stage.CURRICULUM / "README.md").read_text()
    rows = rows_of("train", "heldout")
    assert f"| some speech | CC0-1.0, MIT | Some \\| body | https://example.org | {len(rows)} |" in text
    assert f"| some noise | CC0-1.0, MIT | Some \\| body | https://example.org | {len(rows)} |" in text
    assert "unused" not in text  # nothing of it is heard


def test_a_changed_licence_changes_the_rows_and_the_card(project: Path) -> None:
    manifest = read_rows(Path("data/mixtures_manifest.parquet"))
    write_parquet(Path("data/mixtures_manifest.parquet"), [row | {"licences": ["CC-BY-4.0"]} for row in manifest], teacher_side.MANIFEST)
    before = [{**row, "licences": None} for row in rows_of("train", "heldout")]
    stage.run()
    after = rows_of("train", "heldout")
    assert {tuple(row["licences"]) for row in after} == {("CC-BY-4.0",)}
    assert [{**row, "licences": None} for row in after] == before
    assert f"| CC-BY-4.0 | {len(after)} |" in (stage.CURRICULUM / "README.md").read_text()


def test_a_missing_stage_is_named(project: Path) -> None:
    shutil.rmtree("data/pseudo_gt")
    with pytest.raises(UserError, match=r"data/pseudo_gt.*dvc repro curriculum"):
        stage.run()
