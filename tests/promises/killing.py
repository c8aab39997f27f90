"""A small world whose builds are killed: where its writes are, a process tree that dies at one of them, and what is left."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from safetensors import safe_open

from flows.graph import heal
from tests.dag.conftest import NANO, ROOT, Project, copy_project
from tests.incremental import small_build

HOOK = Path(__file__).parent / "hook"
# Laid over the smallest numbers: fewer words, several shards everywhere, a checkpoint every step.
MORE: dict[str, Any] = {
    "synthesis": {"words": {"words": ["apple", "chair", "fish", "green", "music", "window"]}},
    "mix": {"shard_mixtures": 32},
    "training": {"common": {"save_every": 1}},
    "evaluate": {"shard_size": 64},
}
DVC_COPY = re.compile(r"/\.[\w-]{22}\.tmp$")
OUTPUTS = ("data", "models", "reports")
TIMES = ("data/scan/", "reports/tensorboard/", "reports/build.json", "reports/latency.json", "reports/.build.lock")
PAGE = Path("reports/index.html")


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other."""
    both = {key: merged(below[key], value) if isinstance(value, dict) and key in below else value for key, value in above.items()}
    return {**below, **both}


def world(folder: Path, workers: int = 2, server: bool = True) -> Project:
    """A fresh copy of the project, with several shards everywhere."""
    project = Project(copy_project(folder), workers=workers, server=server)
    (folder / "profiles/tiny.yaml").write_text(yaml.safe_dump(merged(NANO, MORE)))
    project.environment |= {"OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
    return project


def small_world(folder: Path) -> Path:
    """A project of the stages from the catalog to the mixtures, on a few sounds in folders, without outputs and without DVC."""
    folder.mkdir()
    with contextlib.chdir(folder):
        for name in ("profiles", "catalogs/questions"):
            shutil.copytree(ROOT / name, name)
        for number in range(18):
            path = Path(f"sounds/talk/{('ann', 'bob', 'cyd', 'dot', 'eve', 'fay')[number % 6]}/yes no {number}.flac")
            small_build.write_sound(path, 0.4, "talk", number)
        for number in range(20):
            small_build.write_sound(small_build.noise_path(number), 0.8, "din", number)
        small_build.write_entry(small_build.SPEECH)
        small_build.write_entry(small_build.NOISE)
        small_build.write_params("sounds", small_build.CHAINS, shard_mixtures=16)
        params = yaml.safe_load(Path("params.yaml").read_text())
        params["mix"]["per_noise"] = {"train": 4, "validation": 4, "test": 4}
        Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def plain(workers: int = 1) -> dict[str, str]:
    """The environment of a stage's own command there."""
    return os.environ | {"PYTHONPATH": str(ROOT), "WORKERS": str(workers), "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Blow:
    """When a command dies: at write number `at` (of those whose line holds `on`), or after `seconds`; the whole tree or one process."""

    at: int = 0
    on: str = ""
    how: str = "tree"
    seconds: float = 0.0


@dataclass(frozen=True)
class End:
    """How a command ended: whether the blow fell, its exit status and errors, and the lines of its writes."""

    struck: bool
    status: int
    errors: str
    writes: list[str]


def strike(folder: Path, environment: dict[str, str], command: list[str], blow: Blow | None = None, seconds: float = 900) -> End:
    """Run a command in a folder, in a process group of its own, and deal it a blow; returns when every process of the group is gone."""
    log = folder.parent / f"{folder.name}.writes"
    log.unlink(missing_ok=True)
    blow = blow or Blow()
    hook = {"FAULT_ROOT": str(folder), "FAULT_LOG": str(log), "FAULT_AT": str(blow.at), "FAULT_ON": blow.on, "FAULT_HOW": blow.how}
    hooked = environment | hook | {"PYTHONPATH": f"{HOOK}:{environment['PYTHONPATH']}"}
    errors = folder.parent / f"{folder.name}.errors"
    with errors.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, env=hooked, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True)
        late = False
        try:
            process.wait(timeout=blow.seconds or seconds)
        except subprocess.TimeoutExpired:
            assert blow.seconds, f"{command} did not end within {seconds} s"
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    gone_by = time.monotonic() + 60
    while (left := members(process.pid)) and time.monotonic() < gone_by:
        time.sleep(0.05)
    assert not left, f"{command}: processes {left} live on"
    writes = log.read_text().splitlines() if log.exists() else []
    return End(late or 0 < blow.at <= sum(blow.on in line for line in writes), process.returncode, errors.read_text(errors="replace"), writes)


def members(group: int) -> list[int]:
    """Living processes of a process group; a zombie waits for its parent and does nothing more."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, of_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(of_group) == group and state != "Z":
                found.append(int(entry.name))
    return found


def files_of(folder: Path) -> list[str]:
    """Every file of the outputs, relative to the project."""
    return sorted(str(path.relative_to(folder)) for top in OUTPUTS for path in (folder / top).rglob("*") if path.is_file())


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the outputs by path, but those that hold times; the report without its times."""
    found = {}
    for name in files_of(folder):
        if not name.startswith(TIMES):
            data = (folder / name).read_bytes()
            if name == str(PAGE):
                data = re.sub(rb"<!-- build -->.*?<!-- /build -->", b"", data, flags=re.S)
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def leftovers(folder: Path) -> list[str]:
    """What only a build that did not end leaves: temporary files and folders, drafts, checkpoints, candidates, parts."""
    unfinished = re.compile(r"(^|/)(\.[^/]*\.tmp|\.draft|\.[^/]*\.old|rows-[^/]*)(/|$)|^models/\.runs/|^models/\.candidates/|/\.parts/.")
    every = (str(path.relative_to(folder)) for top in OUTPUTS for path in (folder / top).rglob("*"))
    return sorted(name for name in every if unfinished.search(name))


def torn(folder: Path) -> list[str]:
    """Files under their final names that do not open as what they are."""
    bad = []
    for name in files_of(folder):
        path = folder / name
        if path.name.startswith(".") or "/." in name or name.startswith(TIMES[:2]):
            continue
        try:
            if path.suffix == ".parquet":
                pq.ParquetFile(path, memory_map=True).close()
            elif path.suffix == ".safetensors":
                safe_open(path, "np").keys()
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
        except Exception as error:
            bad.append(f"{name}: {error}")
    return bad


def models(folder: Path) -> list[str]:
    """Model folders that hold a part of what `from_pretrained` reads."""
    needed = {"config.json", "model.safetensors", "tokenizer.json"}
    found = (path for path in (folder / "models").glob("*") if path.is_dir() and not path.name.startswith(".") and path.name != "see")
    return [path.name for path in found if not needed <= {file.name for file in path.iterdir()}]


def command_of(stage: str, driver: str) -> list[str]:
    """How a driver runs one stage: `stage` by its own command, `dvc` or `flow`."""
    if driver == "dvc":
        return ["dvc", "repro", "-q", "-s", "-f", stage]
    if driver == "flow":
        body = "from prefect import flow; from flows.build_curriculum import drive; flow(drive, name='build', validate_parameters=False)"
        return [sys.executable, "-c", f"{body}(['{stage}'], None, None, None, None)"]
    name, _, argument = stage.partition("@")
    return [sys.executable, "-m", f"tasks.{'training' if name == 'train' else name}", *filter(None, [argument])]


def outputs_of(stage: str) -> list[str]:
    """Paths of a stage's outputs."""
    name, _, item = stage.partition("@")
    known = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]
    listed = [*known.get("do", known).get("outs", []), *known.get("do", known).get("metrics", [])]
    return [(next(iter(one)) if isinstance(one, dict) else one).replace("${item}", item) for one in listed]


def take_away(folder: Path, stage: str) -> None:
    """Delete a stage's outputs, as somebody may."""
    for name in outputs_of(stage):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def groups(writes: Sequence[str]) -> Counter[str]:
    """How often each kind of write happens in each place: `fsync data/mixtures`, `write dvc.lock`."""
    found = Counter[str]()
    for line in writes:
        kind, rest = line.split(" ", 1)
        parts = rest.rsplit(" ", 2)[0].split("/")
        if parts[1:] and parts[1].startswith("."):
            parts[1:] = ["."]  # a temporary name, another in every run
        found[f"{kind} {'/'.join(parts[:2])}" + ("/" if len(parts) > 2 else "")] += 1
    return found


def draw(writes: Sequence[str], rng: np.random.Generator) -> Blow:
    """A blow at one of these writes, every kind and place as likely as another; some after a time instead, some at one process alone."""
    if rng.random() < 0.15:
        return Blow(seconds=float(rng.uniform(1.0, 8.0)))
    places = groups(writes)
    on = str(rng.choice(sorted(places)))
    return Blow(at=int(rng.integers(1, min(places[on], 8) + 1)), on=on, how="self" if rng.random() < 0.25 else "tree")


@dataclass
class Campaign:
    """What was dealt to a build, and what was wrong at once after it."""

    folder: Path
    environment: dict[str, str]
    dealt: list[str] = field(default_factory=list)
    missed: int = 0
    faults: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)  # of the last run

    def deal(self, stage: str, driver: str, blow: Blow) -> bool:
        """One blow; whether it fell. A run that it missed ended well, and its outputs are taken away for the next."""
        if (self.folder / "dvc.yaml").exists():
            with contextlib.chdir(self.folder):
                heal()
        end = strike(self.folder, self.environment, command_of(stage, driver), blow)
        self.writes = end.writes
        said = f"{stage} by {driver}: {blow}"
        wrong = [*torn(self.folder), *(f"models/{name} is a part of a model" for name in models(self.folder))]
        if not end.struck:
            self.missed += 1
            wrong += [f"exit status {end.status}: {end.errors[-2000:]}"] if end.status else []
            take_away(self.folder, stage)
        else:
            self.dealt.append(said)
        self.faults += [f"{said}: {one}" for one in wrong]
        print(f"{len(self.dealt):4d} {'killed' if end.struck else 'missed'} {said}{' ' + str(wrong) if wrong else ''}", flush=True)
        return end.struck


def unsynced(folder: Path, writes: Sequence[str]) -> list[str]:
    """What a power cut could take from the outputs that a run wrote: files that came under their final names other than by a rename of what
    was on disk, and renames after which their folder was not put on disk. Where DVC copies an output back from its cache, that is DVC's."""
    kinds = [line.split(" ", 1)[0] for line in writes]
    paths = [line.split(" ", 1)[1].rsplit(" ", 2)[0] for line in writes]
    on_disk, sources, bad = set[str](), dict[str, str](), list[str]()
    for number, (kind, path) in enumerate(zip(kinds, paths, strict=True)):
        if kind == "fsync":
            on_disk.add(path)
        elif kind == "rename" and path.startswith(OUTPUTS) and not Path(path).name.startswith(".") and not DVC_COPY.search(paths[number - 1]):
            sources[path] = paths[number - 1]
            if ("fsync", str(Path(path).parent)) not in zip(kinds[number:], paths[number:], strict=True):
                bad.append(f"{path}: its folder is not put on disk after the rename")
    for name in files_of(folder):
        if name.startswith(TIMES) and name != "reports/build.json":
            continue
        final = next((path for path in (name, *map(str, Path(name).parents)) if path in sources), None)
        if final is None:
            bad.append(f"{name}: not renamed from a temporary name")
        elif sources[final] + name.removeprefix(final) not in on_disk:
            bad.append(f"{name}: renamed before it was on disk")
    return bad
