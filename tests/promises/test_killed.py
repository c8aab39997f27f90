"""Killed at any moment, a build goes on: in the end every file is, hash for hash, that of a build nobody disturbed, and nothing else is left."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest

from flows.graph import DVC_LOCK, LAST_LOCK, heal, read_graph, sweep
from tasks.common.seeds import rng_of
from tests.incremental import small_build
from tests.promises.killing import Blow, Campaign, command_of, draw, leftovers, plain, small_world, strike, tree, unsynced, world

KILLS = int(os.environ.get("KILLS", "100"))
DRIVERS = {"stage": 0.5, "dvc": 0.4, "flow": 0.1}
OUR_OUTPUTS = ("data/", "models/", "reports/")


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_killed_at_a_hundred_points_of_the_dag(tmp_path: Path, prefect_api: None) -> None:
    reference = world(tmp_path / "reference", server=False)
    with contextlib.chdir(reference.folder):
        stages = [stage.name for stage in read_graph()]
    writes: dict[str, list[str]] = {}
    for stage in stages:
        end = strike(reference.folder, reference.environment, command_of(stage, "dvc"))
        assert end.status == 0, end.errors
        writes[stage] = end.writes
    assert unsynced(reference.folder, [line for stage in stages for line in writes[stage]]) == []

    victim = world(tmp_path / "victim")
    campaign = Campaign(victim.folder, victim.environment)
    for number, stage in enumerate(stages):
        rng = rng_of("killed", stage)
        wanted = len(campaign.dealt) + KILLS // len(stages) + (number < KILLS % len(stages))
        for _ in range(4 * KILLS):
            if len(campaign.dealt) >= wanted:
                break
            driver = str(rng.choice(list(DRIVERS), p=list(DRIVERS.values())))
            seen = [line for line in writes[stage] if driver != "stage" or line.split(" ")[1].startswith(OUR_OUTPUTS)]
            campaign.deal(stage, driver, draw(seen, rng))
        end = strike(victim.folder, victim.environment, ["dvc", "repro", "-q", "-s", stage])
        assert end.status == 0, end.errors
    end = strike(victim.folder, victim.environment, [sys.executable, "-m", "flows.build_curriculum"])
    assert end.status == 0, end.errors

    print(f"{len(campaign.dealt)} kills in {len(stages)} stages, {campaign.missed} runs ended before theirs")
    assert campaign.faults == []
    assert leftovers(victim.folder) == leftovers(reference.folder) == []
    assert tree(victim.folder) == tree(reference.folder)
    assert victim.lock() == reference.lock()
    assert len(campaign.dealt) == KILLS


def test_killed_in_a_shard_a_row_and_a_worker_the_rerun_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    stages = ("catalog", "rooms", "items", "mix")
    reference = small_world(tmp_path / "reference")
    victim = shutil.copytree(reference, tmp_path / "victim")
    with contextlib.chdir(reference):
        small_build.rebuild(*stages)
    campaign = Campaign(victim, plain(workers=2))
    blows = {
        "catalog": [Blow(1, "fsync data/catalog/.speech.parquet")],
        "rooms": [Blow(1, "fsync data/rooms/.")],
        "mix": [Blow(4, "rename data/mixtures/"), Blow(2, "fsync data/mixtures/.", "self")],
    }
    kept: dict[str, int] = {}
    writes: list[str] = []
    for stage in stages:
        for blow in blows.get(stage, []):
            assert campaign.deal(stage, "stage", blow)
            writes += campaign.writes
            now = {path.name: path.stat().st_ino for path in (victim / "data/mixtures").glob("*.parquet")}
            assert kept.items() <= now.items(), "a finished shard is never made again"
            kept = now
        end = strike(victim, plain(), command_of(stage, "stage"))
        assert end.status == 0, end.errors
        writes += end.writes
    assert unsynced(victim, writes) == []
    assert 3 <= len(kept) < len(list((victim / "data/mixtures").glob("*.parquet")))
    assert all((victim / "data/mixtures" / name).stat().st_ino == inode for name, inode in kept.items())
    assert campaign.faults == []
    assert json.loads((victim / "reports/build.json").read_text())["rooms"] == {"seconds": ANY, "done": {"rooms": 0}, "reused": {"rooms": 8}}
    assert leftovers(victim) == []
    assert tree(victim) == tree(reference)


def test_what_dvc_was_writing_when_it_was_killed_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [str(Path(sys.executable).with_name("dvc")), "init", "-q"]):
        subprocess.run(command, check=True)
    whole, held = "schema: '2.0'\nstages:\n  mix:\n    cmd: python -m tasks.mix\n", Path(".dvc/tmp/rwlock")
    LAST_LOCK.write_text(whole)
    trial, ours = Path("data/.P7wUQ-T5q8p27rgl7eHRtA.tmp"), Path("data/.items.parquet.17.tmp")
    trial.parent.mkdir()
    trial.touch()
    ours.touch()
    for cut in ("", whole[:9], whole[:25]):
        DVC_LOCK.write_text(cut)
        held.write_text('{"write": {"data')
        heal()
        assert DVC_LOCK.read_text() == whole
        assert not held.exists()
    DVC_LOCK.write_text(whole.replace("mix", "rooms"))
    heal()
    assert "rooms" in DVC_LOCK.read_text(), "one that is whole stays as it is"
    assert not trial.exists() and ours.exists()
    LAST_LOCK.unlink()
    DVC_LOCK.write_text(whole[:25])
    heal()
    assert not DVC_LOCK.exists()


def test_what_a_killed_stage_left_goes_though_the_run_cache_spares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [str(Path(sys.executable).with_name("dvc")), "init", "-q"]):
        subprocess.run(command, check=True)
    Path("dvc.yaml").write_text("stages:\n  items:\n    cmd: python -m tasks.items\n    outs: [data/items.parquet]\n")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, being_written = Path(f"data/.items.parquet.{dead.pid}.tmp"), Path(f"data/.items.parquet.{os.getpid()}.tmp")
    left.parent.mkdir()
    for path in (left, being_written):
        path.touch()
    sweep()
    assert not left.exists() and being_written.exists()
