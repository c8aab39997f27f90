"""Runs whose process is gone: the server calls them crashed, so that their pool and deployment are free again.

A killed process tells nobody. Prefect would show its run as running for ever, and the run would hold the one slot of its pool. Every flow run
sends a heartbeat (prefect.toml: flows.heartbeat_frequency); automations of the server mark those that fall silent, or never begin
(https://docs.prefect.io/v3/advanced/detect-zombie-flows).
"""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

BEAT, PENDING = "prefect.flow-run.heartbeat", "prefect.flow-run.Pending"
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
# Silence after what, how long, and what it means. Three heartbeats of 30 s: a run that was only slow goes on when it is called crashed, and
# the next one waits for its folder. One that has not begun would be refused its start: it has the time that imports take on a busy machine.
SILENT = {
    "no heartbeat": (BEAT, timedelta(seconds=100), "its process is gone: it has sent no heartbeat for 100 s"),
    "no beginning": (PENDING, timedelta(minutes=10), "its process is gone: it has not begun for 10 minutes"),
}


def crash_silent_runs() -> None:
    """Put the automations on the server of PREFECT_API_URL. One that is there is left alone: changed, it would forget the runs it listens to."""
    with get_client(sync_client=True) as client:
        for reason, (last, silence, message) in SILENT.items():
            name = f"{reason}: crashed"
            if client.read_automations_by_name(name):
                continue
            trigger = EventTrigger(
                posture=Posture.Proactive,
                match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
                for_each={"prefect.resource.id"},
                after={last},
                expect={BEAT, *ENDS},
                threshold=1,
                within=silence,
            )
            crash = ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=message, force=False)
            client.create_automation(AutomationCore(name=name, description=message, trigger=trigger, actions=[crash]))
        _listen(client)


def _listen(client: SyncPrefectClient) -> None:
    """Begin to wait for every run that is said to go on: a server that died with its runs may have forgotten that it listened."""
    for state, last in ((StateType.RUNNING, BEAT), (StateType.PENDING, PENDING)):
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[state]))))
        now = {"event": last, "occurred": datetime.now(UTC).isoformat()}
        said = [now | {"id": str(uuid4()), "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}"}} for run in runs]
        if said:
            client.request("POST", "/events", json=said)
