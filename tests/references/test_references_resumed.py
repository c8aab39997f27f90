"""References with an engine that samples, dies in the middle, or fails on some requests: nothing is lost, nothing is asked twice."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from references_stand_in import StandIn

from tasks.common.fanout import in_process
from tasks.common.tables import read_rows
from tasks.engines import EngineError
from tasks.references import answering, parts, stage
from tests import teacher_side

HERE = Path(__file__).parent
ASKED = 10  # twelve questions, two of them about a clip that is too long
CHUNK = 3


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resumed")
    teacher_side.build(root)
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parts, "CHUNK", CHUNK)
    return teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)


def set_params(**values: object) -> None:
    path = Path("profiles/tiny.yaml")
    path.write_text(yaml.safe_dump((yaml.safe_load(path.read_text()) or {}) | {"references": values}))


def use(monkeypatch: pytest.MonkeyPatch, generator: StandIn) -> StandIn:
    monkeypatch.setattr(answering, "shared_generator", lambda *args, **options: generator)
    return generator


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*stage.REFERENCES.iterdir(), stage.EXCLUDED]}


def test_a_killed_run_loses_the_chunk_in_flight_and_no_more(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_params(shards=1)
    whole = use(monkeypatch, StandIn(Path("whole.txt")))
    stage.run(fan_out=in_process)
    assert len(whole.noted()) == ASKED
    expected = outputs()
    for path in [*stage.REFERENCES.iterdir(), stage.EXCLUDED]:
        path.unlink()

    # The first chunk holds the two questions that are refused, or another one does: what counts is the requests put on disk before the end.
    program = f"""
from pathlib import Path
from references_stand_in import StandIn
from tasks.common.fanout import in_process
from tasks.references import answering, parts, stage
parts.CHUNK = {CHUNK}
answering.shared_generator = lambda *args, **options: StandIn(Path("notes.txt"), dies_at=8)
stage.run(fan_out=in_process)
"""
    environment = {"PYTHONPATH": f"{teacher_side.ROOT}:{HERE}", "PATH": ""}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    noted = StandIn(Path("notes.txt")).noted()
    kept = sum(len(read_rows(path)) for path in stage.PARTS.glob("*.parquet"))
    assert len(noted) == 8 and 8 - CHUNK <= kept < 8
    assert not any(stage.REFERENCES.glob("*.parquet"))

    resumed = use(monkeypatch, StandIn(Path("resumed.txt")))
    counts = stage.run(fan_out=in_process)
    assert len(resumed.noted()) == ASKED - kept
    assert not set(resumed.noted()) & set(noted[:kept])
    assert counts.reused == {"references": kept} and outputs() == expected
    assert not stage.PARTS.exists()


def test_a_server_that_fails_on_the_way_keeps_what_it_finished(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_params(engine="openai", shards=2)
    failing = use(monkeypatch, StandIn(Path("notes.txt"), fails_at=6))
    with pytest.raises(EngineError, match=r"HTTP 500; \d of \d requests failed"):
        stage.run(fan_out=in_process)
    finished = failing.noted()[:-1]
    healthy = use(monkeypatch, StandIn(Path("later.txt")))
    stage.run(fan_out=in_process)
    assert len(healthy.noted()) == ASKED - len(finished)
    assert sorted(finished + healthy.noted()) == sorted({*finished, *healthy.noted()}), "nothing was asked twice"
    assert len(read_rows(stage.REFERENCES)) == ASKED


def test_engines_of_their_own_parallelism_run_the_shards_in_this_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_params(engine="vllm")
    use(monkeypatch, StandIn(Path("notes.txt")))

    def workers(*args: object) -> list[object]:
        raise AssertionError("each worker would load an engine")

    assert stage.run(fan_out=workers).done == {"references": 10}  # type: ignore[arg-type]


def test_samples_are_kept_apart_from_the_greedy_response(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = use(monkeypatch, StandIn(Path("greedy.txt")))
    stage.run(fan_out=in_process)
    before = {row["item_id"]: row for row in read_rows(stage.REFERENCES)}
    assert len(greedy.noted()) == ASKED and all(row["samples"] == [] and row["sample_correct_share"] is None for row in before.values())

    set_params(samples=4)
    sampling = use(monkeypatch, StandIn(Path("samples.txt")))
    stage.run(fan_out=in_process)
    assert [line.split()[1] for line in sampling.noted()] == ["4"] * ASKED, "one request of four samples each, and no greedy one again"
    items = {item["item_id"]: item for item in read_rows(stage.ITEMS)}
    rows = read_rows(stage.REFERENCES)
    for row in rows:
        old = before[row["item_id"]]
        assert {name: row[name] for name in ("key", "text", "token_ids", "answer", "correct")} == {
            name: old[name] for name in ("key", "text", "token_ids", "answer", "correct")
        }
        answers = [drawn["answer"] for drawn in row["samples"]]
        assert len(answers) == 4 and all(drawn["text"] == f"<answer> {drawn['answer']} </answer>" for drawn in row["samples"])
        assert row["sample_correct_share"] == answers.count(items[row["item_id"]]["answer"]) / 4
        assert row["sample_agreement"] == answers.count(row["answer"]) / 4
        assert row["confidence"] == -0.5
    assert len({row["sample_correct_share"] for row in rows}) > 1

    again = use(monkeypatch, StandIn(Path("again.txt")))
    assert stage.run(fan_out=in_process).done == {"references": 0} and again.noted() == []
    set_params(samples=4, seed=1)
    stage.run(fan_out=in_process)
    assert len(again.noted()) == ASKED, "another seed draws anew, and asks nothing greedily"


def test_a_question_longer_than_the_context_is_left_out_until_the_context_grows(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, StandIn(Path("short.txt"), context=20))
    stage.run(fan_out=in_process)
    reasons = {row["reason"] for row in read_rows(stage.EXCLUDED)}
    assert reasons == {"no_clean_reference", "longer_than_window", "context_overflow"} and not read_rows(stage.REFERENCES)
    use(monkeypatch, StandIn(Path("long.txt")))
    stage.run(fan_out=in_process)
    assert len(read_rows(stage.REFERENCES)) == ASKED


def test_the_share_a_teacher_gate_keeps_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    use(monkeypatch, StandIn(Path("notes.txt")))
    with caplog.at_level("INFO", logger="dinproof"):
        stage.run(fan_out=in_process)
    train = {item["item_id"] for item in read_rows(stage.ITEMS) if item["split"] == "train"}
    right = [row["correct"] for row in read_rows(stage.REFERENCES) if row["item_id"] in train]
    assert f"references: teacher_gate keeps {100 * sum(right) / len(right):.1f} % of {len(right)} clean train items" in caplog.text
