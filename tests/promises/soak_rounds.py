"""What a soak does over and over, one process a kind of work, and what the process holds after each round.

    python -m tests.promises.soak_rounds FOLDER SECONDS LEAK_MB KIND...     # kinds one after another, SECONDS each

`render` renders all mixtures of a small project, `references` has a model answer all its questions, `training` trains the methods of METHODS in
turn, one a round, each through the stage's own `run` as a build calls it. `leak` answers too, and on purpose keeps LEAK_MB a minute, and a
file, a thread and a child more a round. Prints a JSON object a round: kind, seconds, and the figures of `held`.
"""

import gc
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from tasks.common.fanout import in_process
from tasks.curriculum import stage as curriculum
from tasks.difficulty import stage as difficulty
from tasks.pseudo_gt import stage as pseudo_gt
from tasks.references import stage as references
from tasks.training import stage as training
from tasks.training.params import laid
from tests import teacher_side
from tests.incremental import small_build

METHODS = ("sft", "kd", "caad", "xopd", "grpo", "echodistill")
STEPS: dict[str, Any] = {
    "threads": 1,
    "validation_rows": 4,
    "max_new_tokens": 2,
    "common": {"batch_items": 2, "warmup_steps": 1, "rollouts": {"group_size": 2, "max_new_tokens": 2}},
    "echodistill": {"rollouts": {"group_size": 2}},
    "xopd": {"rollouts": {"group_size": 2}},
}
# Of a round: enough for a build's cut, or so many that starting a run (some 30 kB each of what native libraries keep, however many steps it has,
# and a stage's process starts one) is lost beside them.
FEW_STEPS, MANY_STEPS, SHORT_S = 2, 400, 60.0
LEAST = 4  # rounds, however few seconds there are: a slope wants points
BOARDS = "reports/tensorboard"  # an events file a run, which is what it is for
Round = Callable[[float], None]  # given the minutes since the first


def held(folder: Path) -> dict[str, float]:
    """What this process holds: memory in MB, open files, threads, children, and files of its folder and of the temporary one.

    Memory is what is the process's own, in RAM or swapped out, with what the allocator keeps for later. Resident memory as a whole also counts
    pages of libraries, which a busy machine takes back: a leak of 1 MB a minute did not show in it.
    """
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own_kb = sum(int(status[name].split()[0]) for name in ("RssAnon", "RssShmem", "VmSwap"))
    temporary = Path(tempfile.gettempdir())
    files = [path for root in (folder, temporary) for path in root.rglob("*") if BOARDS not in str(path)]
    children = sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))
    return {
        "memory_mb": own_kb / 1024,
        "open_files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208, the entries are gone before they could be asked about
        "threads": len(os.listdir("/proc/self/task")),  # noqa: PTH208
        "children": children,
        "files": len(files),
    }


def change_params(section: str, **changes: Any) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[section] = laid(params[section], changes)
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def render(_: float) -> Round:
    """Eighty mixtures with noise, reverberation, competing talkers and codecs."""
    small_build.write_project(utterances=12)
    change_params("mix", per_noise={"train": 2, "validation": 2, "test": 2})
    small_build.rebuild("catalog", "rooms", "items")

    def once(_: float) -> None:
        shutil.rmtree("data/mixtures", ignore_errors=True)
        small_build.rebuild("mix")

    return once


def answer(_: float) -> Round:
    """The teacher, loaded anew, answers every question."""
    teacher_side.build(Path())

    def once(_: float) -> None:
        shutil.rmtree(references.REFERENCES, ignore_errors=True)
        references.run(fan_out=in_process)

    return once


def learn(seconds: float) -> Round:
    """The next method from the backbone on, with checkpoints on the way, to the published model."""
    teacher_side.build(Path())
    steps = FEW_STEPS if seconds < SHORT_S else MANY_STEPS
    change_params("training", **laid(STEPS, {"common": {"steps": steps, "save_every": steps // 2}}))
    references.run(fan_out=in_process)
    pseudo_gt.run()
    difficulty.run(fan_out=in_process)
    curriculum.run()
    turns = itertools.cycle(METHODS)

    def once(_: float) -> None:
        method = next(turns)
        training.run(method)
        shutil.rmtree(training.MODELS / method)

    return once


def leak(megabytes: float) -> Round:
    """Answering that keeps some of all that `held` counts: a soak that finds nothing here is worth nothing."""
    work = answer(0)
    kept: list[Any] = []

    def once(minutes: float) -> None:
        work(minutes)
        missing = round(megabytes * minutes * 2**20) - sum(len(block) for block in kept if isinstance(block, bytearray))
        kept.append(bytearray(b"1") * missing)
        kept.append(tempfile.NamedTemporaryFile())  # noqa: SIM115, leaked on purpose
        kept.append(threading.Thread(target=threading.Event().wait, daemon=True))
        kept[-1].start()
        kept.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))  # ends with this process

    return once


KINDS: dict[str, Callable[[float], Round]] = {"render": render, "references": answer, "training": learn}


def soak(folder: Path, seconds: float, megabytes: float, kind: str) -> None:
    """Rounds of a kind for so long, in a folder of their own, and what is held after each."""
    project = folder / kind
    project.mkdir(parents=True)
    os.chdir(project)
    once = leak(megabytes) if kind == "leak" else KINDS[kind](seconds)
    gc.freeze()  # what is there now need not be looked at after every round
    start = time.monotonic()
    for number in itertools.count():
        now = time.monotonic() - start
        if now >= seconds and number >= LEAST:
            return
        once(now / 60)
        print(json.dumps({"kind": kind, "seconds": round(time.monotonic() - start, 3), **held(project)}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[4:]:
        soak(Path(sys.argv[1]).resolve(), float(sys.argv[2]), float(sys.argv[3]), name)
