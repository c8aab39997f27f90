"""Prefect's record of a build grows with its shards, whatever is in them."""

import re
import shutil
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.sorting import FlowRunSort
from prefect.task_runners import ThreadPoolTaskRunner

from flows.graph import Stage
from flows.shards import run_sharded
from tests.mix.test_mix_stage import project  # noqa: F401  (a fixture)


def mixed(times: int, shard_mixtures: int) -> tuple[int, int, int]:
    """(mixtures, shards, task runs) of the mix stage with so many times the mixtures a noise clip, made anew."""
    text = re.sub(r"per_noise: .*", f"per_noise: {{train: {5 * times}, validation: {2 * times}, test: {3 * times}}}", Path("params.yaml").read_text())
    Path("params.yaml").write_text(re.sub(r"shard_mixtures: .*", f"shard_mixtures: {shard_mixtures}", text))
    shutil.rmtree("data/mixtures", ignore_errors=True)
    counts = run_sharded(Stage("mix", "tasks.mix", (), frozenset()))
    with get_client(sync_client=True) as client:
        named = FlowFilter(name=FlowFilterName(any_=["mix"]))
        newest = client.read_flow_runs(flow_filter=named, sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[newest.id])))
    return counts.done["mixtures"], counts.done["shards"], len(runs)


def test_task_runs_grow_with_shards_and_not_with_mixtures(project: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("flows.shards.task_runner", lambda name: ThreadPoolTaskRunner(max_workers=1))
    monkeypatch.setattr("flows.shards.ROUND", 5)
    few, shards, runs = mixed(1, 40)
    many, larger_shards, larger_runs = mixed(8, 320)
    again, more_shards, more_runs = mixed(8, 20)
    assert many == again > 4 * few
    assert (runs, larger_runs, more_runs) == (shards, larger_shards, more_shards)
    assert larger_runs <= runs < more_runs
