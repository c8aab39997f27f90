"""A first build that goes through everything that can stop one: a lost worker process, a power cut, a cancellation; the third run ends."""

import os
import signal
import time
from dataclasses import dataclass, field

from flows.zombies import SILENT
from tests.story.served import Row, Served

SERVING = ("flows.serve", "prefect server", "prefect.server", "worker start", "resource_tracker")


@dataclass
class Told:
    """What was seen of the runs of a fixture, by the run's name there; `stale` are DVC's stale stages after the cancellation."""

    runs: dict[str, str] = field(default_factory=dict)
    states: dict[str, Row] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)


def disturbed(served: Served, killed: str, cut: str, cancelled: str) -> Told:
    """Build a served project for the first time.

    Args:
        killed: a stage of shards, one of whose processes is killed.
        cut: a stage of shards, in which server, worker and flow run are killed at once; they are served again.
        cancelled: a piece, in which `prefect flow-run cancel` ends the second run.
    """
    told = Told()
    first = told.runs["cut"] = served.run("build-curriculum/local")
    served.until(lambda: served.running(first, killed), f"shards of {killed}", 900)
    os.kill(served.workers_of_shards()[0].pid, signal.SIGKILL)
    served.until(lambda: any("attempt 2 in 10 s" in line for line in served.lines(first)), "a second attempt", 120)
    served.until(lambda: served.running(first, cut), f"shards of {cut}", 900)
    served.power_cut()
    begun = time.monotonic()
    served.until(lambda: not served.processes(), "the end of every process", 120)
    told.seconds["orphans"] = time.monotonic() - begun

    served.start()
    begun = time.monotonic()
    second = told.runs["cancelled"] = served.run("build-curriculum/local")
    told.states["cut"] = served.ended(first, SILENT["no heartbeat"][1].total_seconds() + 120)
    told.seconds["zombie"] = time.monotonic() - begun
    served.until(lambda: served.running(second, cancelled), cancelled, 1800)
    served.prefect("flow-run", "cancel", second)
    told.states["cancelled"] = served.ended(second, 180)
    served.until(lambda: not served.processes(SERVING), "the end of the cancelled run's processes", 120)
    told.stale = {line.rstrip(":") for line in served.dvc("status").splitlines() if line.endswith(":") and not line.startswith("\t")}

    third = told.runs["whole"] = served.run("build-curriculum/local")
    told.states["whole"] = served.ended(third, 1800)
    print(f"no process was left {told.seconds['orphans']:.0f} s after the cut; its run was crashed {told.seconds['zombie']:.0f} s after the restart")
    return told
