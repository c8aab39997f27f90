"""The plan before anything is done, the shadow it is made in, and that one retraining runs at a time."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

from flows import retrain as flow
from flows.graph import Stage
from flows.retraining import plan as planning
from flows.retraining.plan import Plan, before_training, reasons, touches
from flows.retraining.scratch import shadow
from tasks.common.errors import UserError
from tasks.common.tables import write_parquet

ROOT = Path(__file__).resolve().parents[2]


MIXTURES = [("a", 0.0, "one"), ("b", 5.0, "one"), ("c", None, "one"), ("d", 10.0, "two"), ("e", None, "two")]


def stage(name: str, *upstream: str, module: str = "tasks.x") -> Stage:
    return Stage(name, module, (name.partition("@")[2],) if "@" in name else (), frozenset(upstream))


GRAPH = [
    stage("catalog"),
    stage("mix", "catalog"),
    stage("quality", "mix"),
    stage("curriculum", "mix"),
    stage("train@caad", "curriculum", module="tasks.training"),
    stage("evaluate", "train@caad", "quality"),
]


def test_only_what_training_needs_is_built() -> None:
    assert [found.name for found in before_training(GRAPH)] == ["catalog", "mix", "curriculum"]


def test_reasons_are_phrases() -> None:
    status = [{"changed deps": {"data/corpora": "modified", "params.yaml": {"mix.snr_db": "modified"}}}, "changed command"]
    assert reasons(status) == ["data/corpora modified", "mix.snr_db of params.yaml modified", "changed command"]


def test_a_folder_is_touched_by_what_lies_in_it_alone() -> None:
    assert touches("data/catalog", "data/catalog/noise.parquet") and touches("data/catalog/noise.parquet", "data/catalog")
    assert not touches("data/catalog", "data/catalogue/noise.parquet") and not touches("data/mixtures", "data/mixtures_manifest.parquet")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose one stage replaces a file of a folder and deletes another."""
    (tmp_path / "data/out/deep").mkdir(parents=True)
    for name in ("same", "other", "gone"):
        (tmp_path / f"data/out/deep/{name}").write_text("old")
    (tmp_path / "work.py").write_text(
        "from pathlib import Path\n"
        "folder = Path('data/out/deep')\n"
        "Path('new.tmp').write_text('new'); Path('new.tmp').replace(folder / 'other')\n"
        "(folder / 'gone').unlink()\n"
        "Path('data/scan/index').write_text('mine')\n"
    )
    (tmp_path / "fails.py").write_text("import sys\nsys.exit('error: corpus noise: no folder. Put it there')\n")
    (tmp_path / "data/scan").mkdir()
    (tmp_path / "data/scan/index").write_text("theirs")
    return tmp_path


def test_a_stage_in_the_shadow_changes_nothing_of_the_project_and_tells_what_it_would(root: Path) -> None:
    before = {path: path.read_text() for path in root.rglob("*") if path.is_file()}
    with shadow(root) as other:
        other.run(["work"], ["data/out"], ["data/out"])
        assert other.differing("data/out") == ["data/out/deep/gone", "data/out/deep/other"]
        folder = other.folder
    assert {path: path.read_text() for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"} == before
    assert not folder.exists()


def test_an_output_that_does_not_persist_starts_absent(root: Path) -> None:
    (root / "work.py").write_text("from pathlib import Path\nassert not Path('data/out').exists()\nPath('data/out').mkdir()\n")
    with shadow(root) as other:
        other.run(["work"], ["data/out"])
        assert len(other.differing("data/out")) == 3
    assert (root / "data/out/deep/same").is_file()


def test_what_a_build_would_stop_at_stops_the_plan(root: Path) -> None:
    with shadow(root) as other, pytest.raises(UserError, match="planning fails: corpus noise: no folder"):
        other.run(["fails"])


def test_times_are_those_of_the_last_build_by_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    Path("profiles").mkdir()
    Path("profiles/tiny.yaml").write_text("{}")
    params = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**params, "profile": "tiny"}))
    Path("reports").mkdir()
    done = {"mix": ("mixtures", 100), "difficulty": ("questions", 400), "references": ("references", 0), "train@caad": ("steps", 450)}
    build = {name: {"seconds": 90.0, "done": {unit: count}} for name, (unit, count) in done.items()}
    Path("reports/build.json").write_text(json.dumps({**build, "catalog": {"seconds": 7.0, "done": {}}}))
    counts = {"mixtures added": 50, "noisy mixtures to ask about": 40, "references": 0, "mixtures removed": 3}
    found = Plan(counts=counts, steps={"caad": 90, "kd": 90})
    planning._estimate(found, ["catalog", "mix", "references", "difficulty"])
    questions = 40 * params["difficulty"]["items_per_mixture"]
    expected = {"catalog": 7.0, "mix": 45.0, "references": 0.0, "difficulty": 90.0 * questions / 400, "train@caad": 18.0, "train@kd": None}
    assert found.seconds == pytest.approx(expected)
    said = "\n".join(found.lines())
    assert "together: 88 s, and 1 unknown" in said and "does not unlearn" in said


class Planned:
    """A shadow whose plan of the mixtures is given."""

    def __init__(self, folder: Path, mixtures: list[dict[str, Any]]) -> None:
        self.folder, self.mixtures = folder, mixtures

    def run(self, words: list[str]) -> None:
        write_parquet(self.folder / words[1], pa.Table.from_pylist(self.mixtures))


def test_counts_are_the_differences_to_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mixtures = [{"mixture_id": name, "recipe_hash": name, "snr_db": snr, "shard": f"{shard}.parquet"} for name, snr, shard in MIXTURES]
    write_parquet(Path("data/mixtures_manifest.parquet"), pa.Table.from_pylist(mixtures[:3]))
    write_parquet(Path("data/difficulty.parquet"), pa.table({"mixture_id": ["b"]}))
    Path("data/mixtures").mkdir()
    Path("data/mixtures/one.parquet").touch()
    items = [
        {"item_id": "x", "task": "first"},
        {"item_id": "y", "task": "background"},
        {"item_id": "z", "task": "first"},
        {"item_id": "w", "task": "last"},
    ]
    for folder in (Path(), Path("shadow")):
        clips = [{"path": "old.wav", "clip_id": "1"}] + ([{"path": "rain.wav", "clip_id": "2"}] if folder.name else [])
        write_parquet(folder / "data/catalog/noise.parquet", pa.Table.from_pylist(clips))
    write_parquet(Path("shadow/data/items.parquet"), pa.Table.from_pylist(items))
    write_parquet(Path("data/references/1.parquet"), pa.table({"item_id": ["x"]}))
    write_parquet(Path("data/references_excluded.parquet"), pa.table({"item_id": ["w"]}))
    found, other = Plan(), Planned(Path("shadow"), mixtures[1:])
    planning._count(found, other, ["catalog", "items", "mix", "references", "difficulty"])  # type: ignore[arg-type]
    assert found.clips == {"noise added": ["rain.wav"]}
    assert found.counts == {"mixtures added": 2, "mixtures removed": 1, "shards": 1, "noisy mixtures to ask about": 1, "references": 1}
    found.changed["references"] = ["tasks/engines modified"]
    planning._count(found, other, ["references"])  # type: ignore[arg-type]
    assert found.counts["references"] == 3, "the teacher may answer all of them anew"
    found.changed["difficulty"] = ["torch of versions.yaml modified"]
    planning._count(found, other, ["difficulty"])  # type: ignore[arg-type]
    assert found.counts["noisy mixtures to ask about"] == 2, "all of them are asked about anew"


def test_no_change_is_one_line() -> None:
    assert Plan().lines() == ["nothing has changed, and every model has heard the curriculum as it is"]


def test_a_second_trigger_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two at once, each with a file handle of its own on the lock, as two processes have."""
    seen: list[str] = []
    first_may_end = threading.Event()

    def planned(_: object) -> Plan:
        name = threading.current_thread().name
        seen.append(f"{name} begins")
        if name == "first":
            assert first_may_end.wait(60)
        seen.append(f"{name} ends")
        return Plan()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["retrain", "--dry-run"])
    for name, value in (("plan", planned), ("check_all", lambda: None), ("read_graph", list)):
        monkeypatch.setattr(flow, name, value)
    threads = [threading.Thread(target=flow._main, name=name) for name in ("first", "second")]
    deadline, said = time.monotonic() + 60, ""
    threads[0].start()
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    threads[1].start()
    while "waiting for it" not in said and time.monotonic() < deadline:
        said += capsys.readouterr().err
        time.sleep(0.01)
    assert "waiting for it" in said and seen == ["first begins"]
    first_may_end.set()
    for thread in threads:
        thread.join(60)
    assert seen == ["first begins", "first ends", "second begins", "second ends"]


def test_the_deployment_queues_a_second_trigger_and_answers_to_an_event() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (found,) = [one for one in deployments if one["entrypoint"].startswith("flows/retrain.py")]
    assert found["concurrency_limit"] == {"limit": 1, "collision_strategy": ConcurrencyLimitStrategy.ENQUEUE.value}
    (trigger,) = [DeploymentEventTrigger.model_validate(one) for one in found["triggers"]]
    assert trigger.enabled and trigger.expect == {"corpora.changed"}
    assert CronSchedule(cron=found["schedules"][0]["cron"], timezone="UTC") and found["schedules"][0]["active"] is False
