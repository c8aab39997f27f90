"""The end-to-end story on a real server with a real worker: build and train, lose power, cancel, go on, change a corpus, retrain by an event."""

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import yaml

from tests.dag.conftest import Project
from tests.story.conftest import record
from tests.story.disturb import Told, disturbed
from tests.story.served import Row, Served

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

METHODS = ("caad", "echodistill")


@pytest.fixture(scope="module")
def built(served: Served) -> Told:
    """The first build, which trains."""
    return disturbed(served, killed="mix", cut="references", cancelled="train@caad")


@pytest.fixture(scope="module")
def changed(served: Served, built: Told) -> Told:
    """A noise file more in the corpus, and two events at once: from the command line and as a webhook."""
    told = Told()
    record(served.folder / "corpora", "hiss", 3)
    event = {"event": "corpora.changed", "resource": {"prefect.resource.id": "dinproof.corpora"}}
    httpx.post(f"{served.url}/events", json=[event | {"occurred": datetime.now(UTC).isoformat(), "id": str(uuid.uuid4())}]).raise_for_status()
    served.prefect("event", "emit", "corpora.changed", "--resource-id", "dinproof.corpora")
    served.until(lambda: len(served.runs_of("retrain")) == 2, "two runs of retrain", 120)
    both = [row["id"] for row in served.runs_of("retrain")]
    told.states = {run: served.ended(run) for run in both}
    ended = {row["id"]: row["end_time"] for row in served.runs_of("retrain")}
    told.runs = dict(zip(("first", "second"), sorted(both, key=lambda run: ended[run]), strict=True))
    return told


def table(artifact: Row) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(artifact["data"])
    return rows


def test_a_power_cut_leaves_no_process_and_its_run_is_called_crashed(built: Told) -> None:
    assert built.states["cut"]["type"] == "CRASHED" and "no heartbeat" in built.states["cut"]["message"]


def test_a_cancelled_run_leaves_a_tree_that_goes_on(built: Told, served: Served) -> None:
    assert built.states["cancelled"]["type"] == "CANCELLED"
    assert "train@caad" in built.stale and not built.stale & {"synthesis", "catalog", "rooms", "items", "mix", "backbone", "references"}
    ran = served.ran(built.runs["whole"])
    assert "train@caad" in ran and not ran & {"mix", "references"}


def test_the_build_that_went_on_is_the_undisturbed_one_hash_for_hash(built: Told, served: Served, undisturbed: Project) -> None:
    assert built.states["whole"]["type"] == "COMPLETED", built.states["whole"]
    here = Project(served.folder)
    assert here.lock() == undisturbed.lock()
    assert here.page() == undisturbed.page()


def test_logs_name_stage_and_shard_and_the_second_attempt(built: Told, served: Served) -> None:
    runs = [built.runs["cut"], *(row["id"] for row in served.stages(built.runs["cut"]))]
    lines = served.lines(*runs)
    assert any(line.startswith("stage mix, mixtures 1 of ") and line.endswith(" s") for line in lines), lines
    (again,) = [line for line in lines if "attempt 2" in line]
    assert re.fullmatch(r"stage (mix|backbone): .*; attempt 2 in 10 s", again), "the backbone is trained while mixtures are made"
    assert "stage train@caad" in served.lines(built.runs["whole"])
    names = {row["name"] for row in served.task_runs(*runs)}
    assert any(name.startswith("mixtures 1 of ") for name in names)


def test_artifacts_are_a_table_a_text_and_a_link(built: Told, served: Served) -> None:
    found = served.artifacts(built.runs["whole"])
    assert {row["type"] for row in found.values()} == {"table", "markdown"} and len(found) == 3
    assert {row["stage"] for row in table(found["stages"])} >= {"train@caad", "evaluate", "report"}
    assert "caad" in found["curriculum-result"]["data"]
    assert f"{served.folder}/reports/index.html" in found["report"]["data"]


def test_an_event_retrains_on_what_changed_and_builds_no_more(changed: Told, built: Told, served: Served) -> None:
    first = changed.runs["first"]
    assert changed.states[first]["type"] == "COMPLETED", changed.states[first]
    ran = served.ran(first)
    assert {"catalog", "mix", "curriculum", *METHODS} <= ran
    assert not ran & {"synthesis", "rooms", "backbone", "evaluate", "report"}, ran
    counts = json.loads((served.folder / "reports/build.json").read_text())
    assert counts["mix"]["done"]["mixtures"] and counts["mix"]["reused"]["mixtures"], counts["mix"]
    assert not counts["references"]["done"]["references"], "what the teacher hears is clean speech, and that is the same"
    plan = served.artifacts(first)["retrain-plan"]["data"]
    assert "noise added: noise/yard/hiss_3.wav" in plan and "0 references" in plan, plan


def test_the_new_checkpoints_have_their_lineage(changed: Told, built: Told, served: Served) -> None:
    result = served.artifacts(changed.runs["first"])["retrain-result"]["data"]
    for method in METHODS:
        assert f"| {method} |" in result and "promoted" in result
        folder = served.folder / f"models/{method}.retrained"
        known = yaml.safe_load((folder / "lineage.yaml").read_text())
        assert len(known["curricula"]) == 2 and known["from"] == f"models/{method}"
        assert (folder / "model.safetensors").read_bytes() != (served.folder / f"models/{method}/model.safetensors").read_bytes()
    forward = Project(served.folder).run("python", "-m", "flows.command", "lineage", "noise/yard/hiss_3.wav", check=False).stdout
    assert all(f"models/{method}.retrained: trained on" in forward and f"models/{method}: " not in forward for method in METHODS), forward


def test_of_two_events_at_once_the_second_finds_nothing_to_do(changed: Told, served: Served) -> None:
    second = changed.runs["second"]
    assert changed.states[second]["type"] == "COMPLETED" and changed.states[second]["message"] == "nothing to do"
    assert served.ran(second) == set()


def test_the_next_build_trains_anew_and_its_report_tells_the_change(changed: Told, served: Served) -> None:
    run = served.run("build-curriculum/local")
    assert served.ended(run)["type"] == "COMPLETED"
    assert {"train@caad", "evaluate", "report"} <= served.ran(run) and not served.ran(run) & {"synthesis", "rooms", "mix", "backbone", "references"}
    page = (served.folder / "reports/index.html").read_text()
    told = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert told is not None
    changes = json.loads(told.group(1))["changes"]
    (yard,) = [row for row in changes["corpora"] if row["name"].startswith("noise: yard")]
    assert yard["before"] != yard["after"] and "Since the last build" in page


def test_a_build_out_of_time_fails_in_one_line_and_frees_the_pool(changed: Told, served: Served) -> None:
    state = served.ended(served.run("build-curriculum/local", "hours=0.0001"), 900)
    assert state["type"] == "FAILED" and state["message"].startswith("hours=0.0001: the time limit is over"), state
    assert served.ended(served.run("build-curriculum/local"), 900)["message"].startswith("0 of ")
