"""EchoDistill over GRPO only and over distillation only, with a teacher that is nearly always right (arXiv 2605.23954, table 2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.jobs import Job, Results
from bench.results.stats import gsr, noisy, points, right, share
from bench.results.tables import table

# Steps are set so that every run has about the same CPU seconds (last column), each method in the setting that was its best on the validation split:
# GRPO at 3e-4 (1e-3 at 220 steps was six points below it in noise, 6e-4 two), from easy to hard (all levels at once at several speeds: eight below).
ALL_LEVELS = {"schedule": "constant_with_warmup", "curriculum": {"schedule": "uniform", "mixtures": "rendered"}}  # for noise; the default keeps quiet
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", {}),
    "GRPO only": ("grpo", {"common": {"steps": 300}}),
    "EchoDistill": ("echodistill", {"common": {"steps": 260}, "echodistill": ALL_LEVELS}),
    "EchoDistill without policy": ("echodistill", {"common": {"steps": 330}, "echodistill": {**ALL_LEVELS, "lambda_policy": 0.0}}),
}

TEXT = """`acc`: right answers. `noisy`: agreement of a method's noisy answer with the base's clean one. `gsr`: agreement of its own noisy and clean
answers, over the pairs where both name an option. `no option` is the share of noisy answers that do not; `gsr` leaves them out, and so is the
kinder to a method the more it has. A wrong option is rewarded with -1 and none with 0 or more, so a policy that cannot hear does well to name none.
"""

HEAD = ["run", "acc_clean", "acc_noisy", "noisy", "gsr", "acc_noisy over GRPO", "noisy over GRPO", "gsr over GRPO", "no option", "CPU s"]


def jobs(folders: Sequence[str], split: str, seeds: Sequence[int]) -> list[Job]:
    """Every run of every folder and seed."""
    return [
        Job(folder, name, method, seed, split, settings=settings)
        for folder in folders
        for name, (method, settings) in RUNS.items()
        for seed in (seeds if method != "base" else seeds[:1])
    ]


def section(results: Results, folders: Sequence[str]) -> str:
    """The table and what follows from it."""
    parts = ["## EchoDistill, GRPO and distillation\n", TEXT]
    for folder in folders:
        base = results.tables(folder, "base")
        grpo = results.tables(folder, "GRPO only")
        lines = []
        for name in RUNS:
            ours = results.tables(folder, name)
            figures = [share(ours, right("noisy")), noisy(ours, base), gsr(ours)]
            over = [figure - other for figure, other in zip(figures, [share(grpo, right("noisy")), noisy(grpo, base), gsr(grpo)], strict=True)]
            shown = [points(share(ours, right("clean"))), *map(points, figures), *(points(gain, sign=True) for gain in over)]
            lines.append([name, *shown, points(share(ours, silent)), f"{results.seconds(folder, name):.0f}"])
        parts.append(f"### {folder}\n\n" + table(HEAD, lines))
    return "\n".join(parts)


def silent(table: dict[str, NDArray[np.object_]]) -> NDArray[np.float64]:
    """1 for a noisy answer that names no option."""
    return np.where(table["kind"] == "noisy", [float(chosen is None) for chosen in table["chosen"]], np.nan)
