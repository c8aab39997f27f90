"""What a change costs, on a build of 40 noise clips and more than 2,000 mixtures, as reports/build.json counts it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.common.tables import read_rows
from tasks.mix.manifest import MANIFEST
from tasks.mix.shards import MIXTURES
from tests.incremental import small_build
from tests.incremental.small_build import noise_path, rebuild, write_sound

CATALOG = Path("data/catalog/noise.parquet")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("incremental")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        small_build.write_project()
        rebuild()
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the build that one test may change."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder


def shards() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in MIXTURES.iterdir()}


def held() -> dict[str, dict[str, Any]]:
    """Rows of the manifest by mixture; every shard they name is there, and no other file."""
    rows = {row["mixture_id"]: row for row in read_rows(MANIFEST)}
    assert {row["shard"] for row in rows.values()} == {path.name for path in MIXTURES.iterdir()}
    return rows


def noise_ids() -> dict[str, str]:
    """Clip by path."""
    return {row["path"]: row["clip_id"] for row in read_rows(CATALOG)}


class Change:
    """What a rebuild did, from files and from reports/build.json."""

    def __init__(self, *stages: str) -> None:
        before, rows_before = shards(), held()
        self.build = rebuild(*stages)
        after, rows_after = shards(), held()
        self.new_files = after.keys() - before.keys()
        self.gone_files = before.keys() - after.keys()
        self.new_rows = [row for name, row in rows_after.items() if name not in rows_before]
        self.gone_rows = [row for name, row in rows_before.items() if name not in rows_after]
        assert all(after[name] == data for name, data in before.items() if name in after)
        self.done, self.reused = self.build["mix"]["done"], self.build["mix"]["reused"]
        assert self.done == {"mixtures": len(self.new_rows), "shards": len(self.new_files), "removed": len(self.gone_rows)}
        assert self.reused["mixtures"] == len(rows_after) - len(self.new_rows)
        assert self.build["references"]["done"] == {"references": 0}, "no teacher call"


def test_incremental_the_build_is_large_enough(built: Path, project: Path) -> None:
    assert len(held()) > 2000 and len(noise_ids()) == 40
    build = rebuild()
    assert build["mix"]["done"] == {"mixtures": 0, "shards": 0, "removed": 0} and build["mix"]["reused"]["mixtures"] == len(held())
    assert build["references"]["done"] == {"references": 0} and build["references"]["reused"]["references"] > 100


def test_incremental_adding_a_clip_renders_its_own_mixtures(project: Path) -> None:
    write_sound(noise_path(40), 0.8, "din", 40)
    change = Change()
    new = noise_ids()[str(noise_path(40).relative_to("sounds"))]
    assert len(change.new_rows) == 60 and {tuple(row["noise_ids"]) for row in change.new_rows} == {(new,)}
    assert not change.gone_rows and len(change.new_files) == len(change.gone_files) == 1


def test_incremental_removing_a_clip_deletes_its_own_mixtures(project: Path) -> None:
    old = noise_ids()[str(noise_path(7).relative_to("sounds"))]
    noise_path(7).unlink()
    change = Change()
    assert len(change.gone_rows) == 60 and {tuple(row["noise_ids"]) for row in change.gone_rows} == {(old,)}
    assert not change.new_rows and len(change.new_files) == 1
    assert len(change.gone_files) <= 2, "the branch of the clip, and the one it may be joined with"


def test_incremental_editing_a_clip_replaces_its_own_mixtures(project: Path) -> None:
    path = str(noise_path(7).relative_to("sounds"))
    old = noise_ids()[path]
    write_sound(noise_path(7), 0.8, "din", "edited")
    change = Change()
    assert {tuple(row["noise_ids"]) for row in change.gone_rows} == {(old,)} and len(change.gone_rows) == 60
    assert {tuple(row["noise_ids"]) for row in change.new_rows} == {(noise_ids()[path],)} and len(change.new_rows) == 60
    assert len(change.new_files) <= 2, "the branches of the old clip and of the new one"


def test_incremental_a_new_name_or_place_renders_nothing(project: Path) -> None:
    noise_path(7).rename(noise_path(7).with_name("train-of another name.flac"))
    change = Change()
    assert not change.new_files and not change.gone_files

    Path("sounds").rename("elsewhere")
    small_build.write_params("elsewhere", small_build.CHAINS, shard_mixtures=256)
    moved = Change()
    assert not moved.new_files and not moved.gone_files


def test_incremental_a_changed_licence_changes_the_manifest_alone(project: Path) -> None:
    small_build.write_entry(small_build.NOISE, licence="CC-BY-4.0")
    change = Change()
    assert not change.new_files and not change.gone_files
    for row in held().values():
        assert ("CC-BY-4.0" in row["licences"]) == bool(row["noise_ids"])


def test_incremental_a_killed_build_goes_on_where_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(MIXTURES)
    MANIFEST.unlink()
    workers = 2
    environment = {**os.environ, "PYTHONPATH": str(small_build.ROOT), "WORKERS": str(workers)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.mix"], env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list(MIXTURES.glob("*.parquet"))) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.name for path in MIXTURES.glob("*.parquet")}
    assert len(list(MIXTURES.glob(".*.tmp"))) <= workers, "no more than one shard of lost work a worker"
    assert not MANIFEST.exists(), "its rows come after the shards"

    build = rebuild("mix")
    everything = shards()
    assert 4 <= len(finished) < len(everything), "killed in the middle"
    assert finished <= everything.keys() and build["mix"]["reused"]["shards"] == len(finished)
    assert build["mix"]["done"]["shards"] == len(everything) - len(finished)
    assert build["mix"]["reused"]["mixtures"] == sum(row["shard"] in finished for row in held().values())

    shutil.rmtree(MIXTURES)
    rebuild("mix")
    assert shards() == everything, "a resumed build has the bytes of one that was not killed"
