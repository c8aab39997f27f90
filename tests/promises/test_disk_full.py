"""A disk that runs full, in every stage: one line that says so, no damaged file, and after space is freed the build of an endless disk."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flows.server import free_url
from tasks.common.errors import full_disk
from tests.incremental import small_build
from tests.promises.killing import End, command_of, leftovers, outputs_of, plain, small_world, strike, take_away, torn, tree, world

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, of as many MiB as the parameter says."""
    point = tmp_path / "disk"
    point.mkdir()
    size = f"size={request.param}m"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(point)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def starved(folder: Path, environment: dict[str, str], command: list[str], spare: int) -> End:
    """Run a command where `spare` bytes are left, then free the space."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        os.posix_fallocate(file.fileno(), 0, max(1, free - spare))
    end = strike(folder, environment, command)
    filler.unlink()
    return end


def check(end: End, where: str) -> None:
    """It failed in one line that a user can act on."""
    said = [line for line in end.errors.splitlines() if line.startswith("error: ")]  # a bar may be drawn once more after it
    assert end.status == 2, (where, end.status, end.errors[-2000:])
    assert "Traceback" not in end.errors, (where, end.errors[-4000:])
    assert len(said) == 1 and "No space left on device" in said[0] and "run the same command" in said[0], (where, said)


@pytest.mark.parametrize("disk", [24], indirect=True)
def test_a_full_disk_is_one_line_and_the_rerun_completes(disk: Path, tmp_path: Path) -> None:
    reference = small_world(tmp_path / "reference")
    shutil.copytree(reference, disk, dirs_exist_ok=True)
    with contextlib.chdir(reference):
        small_build.rebuild("catalog", "rooms", "items", "mix")
    shutil.copytree(reference / "data", disk / "data")
    for stage, spare in (("catalog", 16 << 10), ("mix", 160 << 10)):
        take_away(disk, stage)
        check(starved(disk, plain(), command_of(stage, "stage"), spare), stage)
        assert torn(disk) == []
        end = strike(disk, plain(), command_of(stage, "stage"))
        assert end.status == 0, end.errors
    assert leftovers(disk) == []
    assert tree(disk) == tree(reference)


@pytest.mark.parametrize("disk", [1], indirect=True)
def test_a_full_disk_is_known_whatever_a_library_calls_it(disk: Path) -> None:
    weights = torch.zeros(MIB)
    for write in (
        lambda: (disk / "plain").write_bytes(bytes(2 * MIB)),
        lambda: torch.save(weights, disk / "torch"),
        lambda: save_file({"weights": weights}, disk / "safetensors"),
    ):
        with pytest.raises(Exception) as caught:
            write()
        for path in disk.iterdir():
            path.unlink()
        found = full_disk(caught.value)
        assert found is not None, caught.value
        assert found.what == "No space left on device"
    assert full_disk(ValueError("no such thing")) is None


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("disk", [160], indirect=True)
def test_a_disk_that_runs_full_in_any_stage(disk: Path, tmp_path: Path, prefect_api: None) -> None:
    """Points by stage, driver and the share of its outputs that still fits."""
    points = [
        *(("catalog", "stage", 0.3), ("rooms", "stage", 0.5), ("mix", "stage", 0.5), ("references", "stage", 0.5)),
        *(("difficulty", "stage", 0.3), ("curriculum", "stage", 0.5), ("backbone", "stage", 0.5), ("train@caad", "stage", 0.1)),
        *(("train@caad", "stage", 0.9), ("evaluate", "stage", 0.3), ("report", "stage", 0.3), ("items", "dvc", 1.2), ("mix", "flow", 0.5)),
    ]
    reference = world(tmp_path / "reference")
    shutil.copytree(reference.folder, disk, dirs_exist_ok=True)
    reference.run("dvc", "repro", "-q", seconds=3600)
    for name in ("data", "models", "reports", ".dvc"):
        shutil.copytree(reference.folder / name, disk / name, dirs_exist_ok=True)
    shutil.copy2(reference.folder / "dvc.lock", disk / "dvc.lock")
    for stage, driver, share in points:
        size = sum(file.stat().st_size for name in outputs_of(stage) for file in [disk / name, *(disk / name).rglob("*")] if file.is_file())
        take_away(disk, stage)
        end = starved(disk, reference.environment, command_of(stage, driver), int(share * size))
        print(f"{stage} by {driver}, room for {share:.0%} of {size} bytes: {end.status}, {end.errors.strip().splitlines()[-1:]}", flush=True)
        if driver == "stage":
            check(end, stage)
        else:
            assert end.status != 0 and "o space left on device" in end.errors, end.errors[-4000:]
        assert torn(disk) == []
        end = strike(disk, reference.environment, command_of(stage, "stage"))
        assert end.status == 0, end.errors
    end = strike(disk, reference.environment, ["dvc", "repro", "-q"])
    assert end.status == 0, end.errors
    assert leftovers(disk) == []
    assert tree(disk) == tree(reference.folder)


@pytest.mark.soak
@pytest.mark.parametrize("disk", [2], indirect=True)
def test_a_full_disk_below_prefects_database_is_one_line(disk: Path, tmp_path: Path) -> None:
    project = world(tmp_path / "project", server=False)
    project.environment |= {"PREFECT_HOME": str(disk), "PREFECT_API_URL": free_url()}
    end = strike(project.folder, project.environment, [sys.executable, "-m", "flows.build_curriculum"])
    assert end.status == 2 and "Traceback" not in end.errors, end.errors[-4000:]
    assert end.errors.strip().splitlines()[-1].startswith("error: "), end.errors
