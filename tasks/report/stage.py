"""The report stage: gather, draw, and fill the page."""

import csv
import json
from pathlib import Path
from typing import Any

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.params import all_params
from tasks.common.tables import write_text
from tasks.evaluate.params import BASE
from tasks.report import charts, gather
from tasks.report.dag import dag_svg
from tasks.report.examples import examples
from tasks.report.page import interval, percent, points, render

REPORTS = Path("reports")
PAGE = REPORTS / "index.html"
Metrics = dict[str, Any]

# What each figure says, in the order of the tables.
MAIN = {
    "acc_clean": ("accuracy, clean", "right answers without noise"),
    "acc_noisy": ("accuracy, noisy", "right answers over all noise types and SNRs"),
    "gain_acc_noisy": ("gain in noise", "points over the base model, same questions; paired interval"),
    "noisy": ("noisy", "noisy answer equals the un-adapted model’s clean answer"),
    "gsr": ("GSR", "noisy answer equals the same model’s clean answer"),
    "acc_conflict": ("accuracy, conflict", "in noise, with a wrong transcript in the question"),
    "acc_background": ("accuracy, background", "naming the noise"),
}
CONTROLS = {
    "acc_silence": ("silence", "right answers when nothing is heard"),
    "acc_shuffled_audio": ("shuffled audio", "right answers when another clip is heard"),
    "first_option_rate": ("first option chosen", "share of noisy answers that parse"),
    "first_option_truth": ("first option right", "what no preference for it would look like"),
    "parse_rate": ("answers that parse", "share of noisy answers that name one option"),
}


def read_curve() -> list[dict[str, Any]]:
    """Rows of plots/accuracy_over_snr.csv, numbers as numbers."""
    with (REPORTS / "plots" / "accuracy_over_snr.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value if name == "method" else float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def read_metrics() -> tuple[Metrics, list[str]]:
    """metrics.json, and the methods in it in the order they are listed there."""
    path = REPORTS / "metrics.json"
    if not path.is_file():
        raise UserError(str(path), "no such file", "Build first: make curriculum")
    metrics: Metrics = json.loads(path.read_text(encoding="utf-8"))
    return metrics, [name for name, figures in metrics.items() if "acc_noisy" in figures]


def closing_lines() -> list[str]:
    """The result in five lines, or one more a method: what was built, how each model does, where the page is."""
    metrics, methods = read_metrics()
    mixtures = gather.rows(gather.connect(), "SELECT count(*) AS n FROM mixtures")[0]["n"]
    lines = [f"{mixtures:,} mixtures built, {metrics['counts']['questions']:,} test questions asked of each of {len(methods)} models"]
    for method in methods:
        clean, noisy = metrics[method]["acc_clean"], metrics[method]["acc_noisy"]
        line = f"{method}: {percent(clean['value'])} % right in quiet, {percent(noisy['value'])} % in noise"
        if method != BASE:
            gain = metrics[method]["gain_acc_noisy"]
            line += f", {points(gain['value'])} points (95 %: {interval(gain, signed=True)})"
        lines.append(line)
    return [*lines, f"report: {PAGE}"]


def run() -> Counts:
    """Write reports/index.html."""
    metrics, methods = read_metrics()
    connection = gather.connect()
    chance = gather.chance(connection)
    snr, heat = gather.snr(connection), gather.heat(connection)
    pairs = examples(connection, methods, Path("data/mixtures"))
    page = render(
        profile=all_params()["profile"],
        methods=methods,
        colours=charts.colour_of(methods),
        metrics=metrics,
        main=MAIN,
        controls=CONTROLS,
        tiles=gather.tiles(connection),
        chance=chance,
        curve=charts.curve(read_curve(), methods, chance),
        heatmap=charts.heatmap(heat, methods),
        cell_n=(min(row["n"] for row in heat), max(row["n"] for row in heat)),
        tasks=gather.tasks(connection),
        examples=pairs,
        snr=charts.snr_check(snr),
        snr_worst=max(abs(row["snr_db_measured"] - row["snr_db"]) for row in snr),
        rt60=charts.rt60_check(gather.rt60(connection)),
        stages=charts.stages(gather.curriculum(connection)),
        stage_rows=gather.curriculum_stages(connection),
        dag=dag_svg(Path("dvc.yaml")),
        quarantine=gather.quarantine(connection),
        corpora=gather.corpora(connection),
    )
    write_text(PAGE, page)
    return Counts(done={"examples": len(pairs)})
