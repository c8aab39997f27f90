"""What the server does with runs that fall silent, by heartbeats sent to it with the times they would have had."""

import os
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Pending, Running, Scheduled

from flows.zombies import BEAT, PENDING, SILENT, crash_silent_runs

ROOT = Path(__file__).resolve().parents[2]
# Prefect looks at an automation once in its own time, and allows no less.
SHORT = {f"{reason}, soon": (last, timedelta(seconds=10), message) for reason, (last, _, message) in SILENT.items()}


@flow
def nothing() -> None:
    """A flow whose runs are only ever spoken of."""


def heard(client: SyncPrefectClient, run: FlowRun, event: str, ago: timedelta) -> None:
    """Tell the server of an event of a run, as its process would have done so long ago."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}"}
    occurred = (datetime.now(UTC) - ago).isoformat()
    client.request("POST", "/events", json=[{"event": event, "resource": resource, "occurred": occurred, "id": str(uuid.uuid4())}])


def test_a_silent_run_is_crashed_and_no_other(prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.zombies.SILENT", SHORT)
    crash_silent_runs()
    crash_silent_runs()
    with get_client(sync_client=True) as client:
        names = [found.name for found in client.read_automations() if found.name.endswith("soon: crashed")]
        assert sorted(names) == sorted(f"{reason}: crashed" for reason in SHORT), "asked twice, there once"
        silent, alive, ended, slow, lost = (client.create_flow_run(nothing, state=Scheduled()) for _ in range(5))
        for run in (silent, alive, ended):
            client.set_flow_run_state(run.id, Running())
        client.set_flow_run_state(slow.id, Pending())
        client.set_flow_run_state(ended.id, Completed())
        deadline = time.monotonic() + 120
        while any(client.read_flow_run(run.id).state_name != "Crashed" for run in (silent, lost)):
            assert time.monotonic() < deadline, [client.read_flow_run(run.id).state for run in (silent, lost)]
            # Again, because a server listens a moment after it was asked to.
            heard(client, silent, BEAT, timedelta(seconds=12))
            heard(client, alive, BEAT, timedelta(seconds=1))
            heard(client, slow, PENDING, timedelta(seconds=1))
            heard(client, lost, PENDING, timedelta(seconds=12))
            time.sleep(2)
        assert [client.read_flow_run(run.id).state_name for run in (alive, ended, slow)] == ["Running", "Completed", "Pending"]
        message = client.read_flow_run(silent.id).state
        assert message is not None and message.message == SILENT["no heartbeat"][2]


IDLE = """
import os, sys, time
from flows.runners import task_runner

if __name__ == "__main__":
    with task_runner("process") as runner:
        print(runner._executor.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_a_worker_that_never_had_a_shard_ends_with_a_killed_run(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(IDLE)
    command, environment = [sys.executable, "idle.py"], os.environ | {"PYTHONPATH": str(ROOT), "WORKERS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = Path("/proc") / run.stdout.readline().strip()
        assert worker.name.isdigit() and worker.exists()
        run.kill()
    deadline = time.monotonic() + 60
    while worker.exists():
        assert time.monotonic() < deadline, "it waits for a shard that nobody will send"
        time.sleep(0.1)


@pytest.mark.parametrize("reason", SILENT)
def test_a_message_says_how_long_it_was(reason: str) -> None:
    _, silence, message = SILENT[reason]
    seconds = int(silence.total_seconds())
    assert f"{seconds} s" in message or f"{seconds // 60} minutes" in message
