"""Long runs stay flat: rendering, answering and training over and over hold no more memory, files, threads or children than at the start.

SOAK_MINUTES=30 python -m pytest -m soak -s tests/promises/test_soak_flat.py     # a process a kind, side by side
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import theilslopes

ROOT = Path(__file__).resolve().parents[2]
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
CUT_S = 1.0  # of each kind, in `make test`: a few rounds
FLAT = ("render", "references", "training")
WARM_UP = 1 / 3  # of the rounds: libraries load, caches fill, the allocator takes its first arenas
COUNTED = ("open_files", "threads", "children", "files")
LIMIT_MB = 0.25  # a minute, 7.5 in half an hour: a fraction of the 1 MB a minute that is planted beside
Sample = dict[str, Any]


def growth(samples: list[Sample], figure: str) -> float:
    """What a figure grew by after the warm-up: the Theil-Sen slope over time, times that time."""
    rows = samples[int(len(samples) * WARM_UP) :]
    seconds, values = np.array([(row["seconds"], row[figure]) for row in rows]).T
    return float(theilslopes(values, seconds).slope * (seconds[-1] - seconds[0]))


def grown(samples: list[Sample], limit_mb: float) -> list[str]:
    """Figures that did not stay flat: memory by more than the limit, and what is counted by anything, of the last third over the first.

    A pool of threads comes and goes, so never having been as few again is what counts.
    """
    rows = samples[int(len(samples) * WARM_UP) :]
    third = len(rows) // 3
    more = [name for name in COUNTED if min(row[name] for row in rows[-third:]) > max(row[name] for row in rows[:third])]
    return [*(["memory_mb"] if growth(samples, "memory_mb") > limit_mb else []), *more]


def start(folder: Path, seconds: float, leak_mb: float, *kinds: str) -> subprocess.Popen[str]:
    (folder / "tmp").mkdir(parents=True)
    quiet = {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.promises.soak_rounds", str(folder), str(seconds), str(leak_mb), *kinds]
    # Files: a pipe that nobody reads meanwhile would fill and stop the work.
    with (folder / "rounds.jsonl").open("w") as rounds, (folder / "stderr.txt").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **quiet}, stdout=rounds, stderr=log, text=True)


def finished(process: subprocess.Popen[str], folder: Path) -> dict[str, list[Sample]]:
    """The samples of each kind, in order."""
    assert process.wait() == 0, (folder / "stderr.txt").read_text()[-3000:]
    samples: dict[str, list[Sample]] = {}
    for line in (folder / "rounds.jsonl").read_text().splitlines():
        row = json.loads(line)
        samples.setdefault(row["kind"], []).append(row)
    return samples


def told(kind: str, samples: list[Sample]) -> None:
    """One line of what was counted."""
    first, last = samples[int(len(samples) * WARM_UP)], samples[-1]
    counts = ", ".join(f"{name} {first[name]} -> {last[name]}" for name in COUNTED)
    memory = f"{first['memory_mb']:.1f} -> {last['memory_mb']:.1f} MB (slope x time {growth(samples, 'memory_mb'):+.2f})"
    print(f"{kind}: {len(samples)} rounds in {last['seconds'] / 60:.1f} minutes, after the warm-up {memory}, {counts}")


@pytest.mark.timeout(900)  # twenty seconds; a machine that does much else takes minutes
def test_a_few_rounds_stay_flat_and_a_leak_is_found(tmp_path: Path) -> None:
    """One process for all kinds, the leak last, of 50 MB a second; memory of a few rounds moves by what the allocator asks for at once."""
    samples = finished(start(tmp_path, CUT_S, 3000.0, *FLAT, "leak"), tmp_path)
    for kind, rows in samples.items():
        told(kind, rows)
    assert samples.keys() == {*FLAT, "leak"}
    assert {kind: grown(samples[kind], 16.0) for kind in FLAT} == {kind: [] for kind in FLAT}
    assert grown(samples["leak"], 16.0) == ["memory_mb", *COUNTED]


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 1200)  # a busy machine takes minutes to start
def test_long_runs_stay_flat(tmp_path: Path) -> None:
    """Half an hour by default, and 1 MB a minute planted beside it is found."""
    kinds = (*FLAT, "leak")
    running = {kind: start(tmp_path / kind, MINUTES * 60, 1.0, kind) for kind in kinds}
    samples = {kind: finished(process, tmp_path / kind)[kind] for kind, process in running.items()}
    for kind, rows in samples.items():
        told(kind, rows)
    assert {kind: grown(samples[kind], LIMIT_MB * MINUTES) for kind in FLAT} == {kind: [] for kind in FLAT}
    assert grown(samples["leak"], LIMIT_MB * MINUTES) == ["memory_mb", *COUNTED]
