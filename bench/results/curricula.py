"""Schedules at equal compute, asked on a range of SNRs that is wider than the training's at both ends.

Held-out questions are put under new mixtures of their own split's noise, each at one of the `LEVELS`, so every level has about as many.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.results.jobs import Job, Results
from bench.results.stats import Value, points, right, share
from bench.results.tables import table
from bench.results.worlds import World, with_models
from tasks.common.audio import Wave
from tasks.common.seeds import choose
from tasks.engines import Request
from tasks.training.data import Row
from tasks.training.remix import Remixer

WORLD = "curricula.wide"
STARTED = Path("models/echodistill")
LEVELS = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0, 30.0)
EASY_DB, HARD_DB = 10.0, -10.0  # levels from the one upwards are easy, from the other downwards hard

# Groups of eight, as in the figures their share with signal is compared with. EchoDistill has the paper's ratio, and no other voices.
SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "echodistill": {"schedule": "cosine", "ema": 0.98, "clean_share": 0.2, "speeds": [1.0], "loss": "gspo", "scorer": "teacher"},
}
GROUP = {"rollouts": {"group_size": 8}}
NEW = {"mixtures": "on_demand"}
REFERENCE = "uniform"
START = "before"  # the model that every run goes on from
# Name: method, section `curriculum`, steps. The steps give every run some 17 CPU seconds: a second candidate costs a step nearly half as much again.
RUNS: dict[str, tuple[str, dict[str, Any], int]] = {
    START: ("base", {}, 0),
    REFERENCE: ("echodistill", {"schedule": "uniform", **NEW}, 64),
    "uniform, fewer steps": ("echodistill", {"schedule": "uniform", **NEW}, 30),  # as many as 4 candidates leave time for
    "adaptive": ("echodistill", {"schedule": "adaptive", **NEW}, 64),
    "adaptive, 2 candidates": ("echodistill", {"schedule": "adaptive", "candidates": 2, **NEW}, 44),
    "adaptive, 4 candidates": ("echodistill", {"schedule": "adaptive", "candidates": 4, **NEW}, 30),
    "uniform, rendered": ("echodistill", {"schedule": "uniform"}, 70),
    "easy_to_hard": ("echodistill", {"schedule": "easy_to_hard", **NEW}, 64),
    "hard_to_easy": ("echodistill", {"schedule": "hard_to_easy", **NEW}, 64),
    "widen": ("echodistill", {"schedule": "widen", **NEW}, 64),
    "see": ("echodistill", {"schedule": "see", **NEW}, 64),
    "grpo, uniform": ("grpo", {"schedule": "uniform", **NEW}, 64),
    "grpo, adaptive, 2 candidates": ("grpo", {"schedule": "adaptive", "candidates": 2, **NEW}, 44),
    "grpo, adaptive, 4 candidates": ("grpo", {"schedule": "adaptive", "candidates": 4, **NEW}, 26),
}

EVERYWHERE = (REFERENCE, "adaptive", "adaptive, 2 candidates", "adaptive, 4 candidates")  # the others in the first folder alone


def wide(world: World, cache: Path) -> World:
    """Held-out questions over all levels, for a student that goes on from the folder's own `models/echodistill`; nothing goes to the cache.

    A student that starts from nothing learns from whatever it is given; the choice matters once it is right about most items.
    """
    held_out = {split: _asked(split, questions, world.waves) for split, questions in world.held_out.items()}
    started = with_models(world, "wide", STARTED, world.teacher)
    return replace(started, held_out=held_out, ways={**world.ways, "noisy": _heard})


def _asked(split: str, questions: Sequence[Row], waves: dict[str, Wave]) -> list[Row]:
    mixer = Remixer(questions, waves, "wide", split=split)
    put = [(row, choose(LEVELS, "wide", row["mixture_id"], row["item_id"])) for row in questions]
    return [
        {**row, "snr_db": snr, "mixture_id": f"{row['mixture_id']}@{snr:g}", "wave": mixer.wave(row, snr, place)}
        for place, (row, snr) in enumerate(put)
    ]


def _heard(row: Row, waves: dict[str, Wave]) -> Request:
    return Request(row["prompt"], row["wave"])


def settings_of(method: str, curriculum: dict[str, Any], steps: int) -> dict[str, Any]:
    """What a run of the table has otherwise."""
    return {method: {**SETTINGS[method], **GROUP, "curriculum": curriculum, "steps": steps}} if method in SETTINGS else {}


def jobs(folders: Sequence[str], split: str, seeds: Sequence[int]) -> list[Job]:
    """Every run of every folder and seed."""
    return [
        Job(folder, name, method, seed, split, WORLD, settings_of(method, how, steps), ("noisy",))
        for folder in folders
        for name, (method, how, steps) in RUNS.items()
        if folder == folders[0] or name in EVERYWHERE
        for seed in (seeds if method != "base" else seeds[:1])
    ]


def between(low: float, high: float) -> Value:
    """Right, of the questions at an SNR from `low` to `high`."""
    return right("noisy", lambda read: (read["snr_db"] >= low) & (read["snr_db"] <= high))


HEAD = ["run", "steps", "CPU s", "groups with signal", "acc_noisy", f"over {REFERENCE}", f"at {EASY_DB:g} dB and above", f"over {REFERENCE}"]
HEAD += [f"at {HARD_DB:g} dB and below", f"over {REFERENCE}"]
RANGES = ((-np.inf, np.inf), (EASY_DB, np.inf), (-np.inf, HARD_DB))


def section(results: Results, folders: Sequence[str]) -> str:
    """The table and what follows from it."""
    parts = ["## Curricula\n", (Path(__file__).parent / "curricula.md").read_text(encoding="utf-8")]
    for folder in folders:
        lines = []
        for name, (method, _, steps) in RUNS.items():
            if not results.has(folder, name, WORLD):
                continue
            reference = "grpo, uniform" if method == "grpo" else REFERENCE
            ours, other = results.tables(folder, name, WORLD), results.tables(folder, reference, WORLD)
            shown = []
            for low, high in RANGES:
                mine = share(ours, between(low, high))
                shown += [points(mine), "" if name == reference else points(mine - share(other, between(low, high)), sign=True)]
            lines.append([name, steps, f"{results.seconds(folder, name, WORLD):.0f}", signal(results, folder, name), *shown])
        parts.append(f"### {folder}\n\n" + table(HEAD, lines))
    return "\n".join(parts)


def signal(results: Results, folder: str, name: str) -> str:
    """Share of groups whose rollouts differ in reward, mean over the steps of every seed."""
    shares = [line["signal"] for log in results.log(folder, name, WORLD) for line in log if "signal" in line]
    return f"{100 * fmean(shares):.0f} %" if shares else ""
