"""Two workers of the mix stage against one: wall time of rendering the same shards, worker processes and their start included.

60,000 mixtures of 2 s, half of the runs in one order and half in the other. Needs two free cores.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from bench.memory import write_project
from bench.table import Row
from tasks.common.fanout import in_workers
from tasks.common.params import load
from tasks.mix.params import MixParams
from tasks.mix.shards import MIXTURES, Shard, shards_of, write_shard
from tasks.mix.stage import planned

WANTED = 60_000


def seconds(shards: list[Shard], workers: int) -> float:
    """Wall time of rendering all shards from nothing."""
    shutil.rmtree(MIXTURES, ignore_errors=True)
    os.environ["WORKERS"] = str(workers)
    start = time.perf_counter()
    in_workers(write_shard, shards, f"{workers} worker(s)")
    return time.perf_counter() - start


def rows() -> list[Row]:
    """`workers_2_over_1`."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        write_project(Path(temporary), WANTED)
        params = load("mix", MixParams)
        shards = shards_of(planned(params), params.shard_mixtures, params.device)
        times: dict[int, list[float]] = {1: [], 2: []}
        for workers in (1, 2, 2, 1):
            times[workers].append(seconds(shards, workers))
    one, two = sum(times[1]) / 2, sum(times[2]) / 2
    made = sum(shard.plan.num_rows for shard in shards)
    return [
        Row("workers_2_over_1", "times the speed", one / two, note=f"{made} mixtures of 2 s in {len(shards)} shards: {one:.1f} s and {two:.1f} s")
    ]
