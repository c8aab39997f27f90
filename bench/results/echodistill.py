"""EchoDistill over GRPO only and over distillation only, with a teacher that is nearly always right (arXiv 2605.23954, table 2)."""

from collections.abc import Sequence
from typing import Any

from bench.results.jobs import Job, Results
from bench.results.stats import gsr, noisy, points, right, share
from bench.results.tables import table

# Steps are set so that every method has the same CPU seconds (column of the table), some 40.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", {}),
    "GRPO only": ("grpo", {"common": {"steps": 300}}),
    "distill only": ("echodistill", {"common": {"steps": 450}, "echodistill": {"lambda_policy": 0.0, "lambda_features": 0.0}}),
    "EchoDistill (paper's terms)": ("echodistill", {"common": {"steps": 250}, "echodistill": {"lambda_features": 0.0}}),
    "EchoDistill + features": ("echodistill", {"common": {"steps": 250}}),
}

HEAD = ["run", "acc_clean", "acc_noisy", "noisy", "gsr", "acc_noisy over GRPO", "noisy over GRPO", "gsr over GRPO", "CPU s"]


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
    parts = ["## EchoDistill, GRPO and distillation\n"]
    for folder in folders:
        base = results.tables(folder, "base")
        grpo = results.tables(folder, "GRPO only")
        lines = []
        for name in RUNS:
            ours = results.tables(folder, name)
            figures = [share(ours, right("noisy")), noisy(ours, base), gsr(ours)]
            over = [figure - other for figure, other in zip(figures, [share(grpo, right("noisy")), noisy(grpo, base), gsr(grpo)], strict=True)]
            shown = [points(share(ours, right("clean"))), *map(points, figures), *(points(gain, sign=True) for gain in over)]
            lines.append([name, *shown, f"{results.seconds(folder, name):.0f}"])
        parts.append(f"### {folder}\n\n" + table(HEAD, lines))
    return "\n".join(parts)
