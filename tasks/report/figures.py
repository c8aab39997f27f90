"""python -m tasks.report.figures: docs/figures/dag.svg and curve.svg, and the README's tables of results on standard output."""

from pathlib import Path
from typing import Any

from tasks.common.cli import guarded
from tasks.common.markdown import plain
from tasks.common.tables import write_text
from tasks.evaluate.params import BASE
from tasks.report import charts, gather
from tasks.report.build import Metrics
from tasks.report.dag import dag_svg
from tasks.report.page import interval, percent, points
from tasks.report.stage import read_curve, read_metrics
from tasks.report.svg import alone

FIGURES = Path("docs/figures")
_COLUMNS = {"acc_clean": "clean", "acc_noisy": "noisy", "gain_acc_noisy": "gain (95 % interval)", "noisy": "agrees with clean base", "gsr": "GSR"}


def markdown_table(metrics: Metrics, methods: list[str]) -> str:
    """Methods in rows, the main figures in columns, in per cent."""
    lines = ["| method | " + " | ".join(_COLUMNS.values()) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for method in methods:
        cells = []
        for name in _COLUMNS:
            if name != "gain_acc_noisy":
                cells.append(percent(metrics[method][name]["value"]))
            elif method == BASE:
                cells.append("")
            else:
                cells.append(_gain(metrics[method][name]))
        lines.append(f"| {plain(method)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def front_end_table(metrics: Metrics) -> str:
    """Front ends in rows: accuracy in noise, what they add on the same questions in noise and in quiet, and their worst noise type, in per cent."""
    lines = ["| front end | noisy | gain in noise (95 % interval) | gain in quiet | worst noise |", "|---" * 5 + "|"]
    for name, figures in metrics["front_ends"].items():
        worst = figures["worst"]
        gains = (_gain(figures["gain_over_none"]), _gain(figures["gain_clean"]))
        cells = (plain(name), percent(figures["acc_noisy"]["value"]), *gains, f"{plain(worst['noise_type'] or '')} {points(worst['gain'])}".strip())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain(estimate: dict[str, Any]) -> str:
    around = interval(estimate, signed=True)
    return points(estimate["value"]) + (f" ({around})" if around else "")


def main() -> None:
    """Write both figures and print the tables."""
    metrics, methods = read_metrics()
    write_text(FIGURES / "dag.svg", alone(dag_svg(Path("dvc.yaml"))))
    write_text(FIGURES / "curve.svg", alone(charts.curve(read_curve(), methods, gather.chance(gather.connect()))))
    print(markdown_table(metrics, methods))
    if metrics["front_ends"]:
        print(f"\n{front_end_table(metrics)}")


if __name__ == "__main__":
    guarded(main)
