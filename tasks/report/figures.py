"""python -m tasks.report.figures: docs/figures/dag.svg and curve.svg, and the README's table of results on standard output."""

from pathlib import Path

from tasks.common.cli import guarded
from tasks.common.tables import write_text
from tasks.evaluate.params import BASE
from tasks.report import charts, gather
from tasks.report.dag import dag_svg
from tasks.report.page import interval, percent, points
from tasks.report.stage import Metrics, read_curve, read_metrics
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
                gain = metrics[method][name]
                cells.append(f"{points(gain['value'])} ({interval(gain, signed=True)})")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Write both figures and print the table."""
    metrics, methods = read_metrics()
    write_text(FIGURES / "dag.svg", alone(dag_svg(Path("dvc.yaml"))))
    write_text(FIGURES / "curve.svg", alone(charts.curve(read_curve(), methods, gather.chance(gather.connect()))))
    print(markdown_table(metrics, methods))


if __name__ == "__main__":
    guarded(main)
