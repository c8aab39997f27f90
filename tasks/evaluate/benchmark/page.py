"""README.md of a benchmark's results: the table that is also printed, and what its figures rest on."""

from collections.abc import Mapping
from typing import Any

from tasks.common.markdown import fenced, plain
from tasks.evaluate.benchmark.figures import percent, table

Metrics = Mapping[str, Any]


def main_table(metrics: Metrics) -> str:
    """A line a method and order of the options: the published score clean, in noise, and at each SNR, in percent with intervals."""
    levels = ["clean", "noisy", *(f"{level:g}" for level in metrics["snr_db"])]
    header = ["method", "options", *levels[:2], *(f"{level} dB" for level in levels[2:])]
    rows = [
        [method, order, *(percent(cells.get(level, {}).get("acc")) for level in levels)]
        for method, orders in metrics["methods"].items()
        for order, cells in orders.items()
    ]
    return table(header, rows)


def _group_table(field: str, values: Metrics, methods: Metrics) -> str:
    header = [field, *(f"{method}, {cell}" for method in methods for cell in ("clean", "noisy"))]
    rows = [
        [value, *(percent(found.get(method, {}).get(cell)) for method in methods for cell in ("clean", "noisy"))] for value, found in values.items()
    ]
    return table(header, rows)


def _bias_table(metrics: Metrics) -> str:
    rows = [
        [method, order, percent(cells["clean"]["first_option_rate"]), percent(cells["clean"]["first_option_truth"])]
        for method, orders in metrics["methods"].items()
        for order, cells in orders.items()
        if "clean" in cells
    ]
    return table(["method", "options", "first option chosen", "first option right"], rows)


def _other_table(metrics: Metrics) -> str:
    rows = [
        [
            method,
            order,
            cell,
            str(cells[cell]["n"]),
            percent(cells[cell]["acc_of_all"]),
            percent(cells[cell]["acc_parsed"]),
            percent(cells[cell].get("gain")),
        ]
        for method, orders in metrics["methods"].items()
        for order, cells in orders.items()
        for cell in ("clean", "noisy")
        if cell in cells
    ]
    return table(["method", "options", "sound", "answers", "uncounted as wrong", "own reading", "gain over base"], rows)


def _text_table(metrics: Metrics) -> str:
    rows = [
        [
            method,
            cell,
            percent(found.get("shift")),
            *(percent(found.get("influence", {}).get(kind)) for kind in ("faithful", "adversarial", "irrelevant")),
        ]
        for method, cells in metrics["texts"].items()
        for cell, found in cells.items()
    ]
    return table(["method", "sound", "shift", "faithful turns right", "adversarial turns wrong", "irrelevant changes"], rows)


def readme(metrics: Metrics) -> str:
    """The whole page."""
    files = ", ".join(f"`{name}` (SHA-256 {digest[:12]})" for name, digest in metrics["tables"].items())
    left_out = ", ".join(f"{count} {reason}" for reason, count in metrics["excluded"].items()) or "none"
    parts = [
        f"# {plain(metrics['benchmark'])}\n",
        f"Version: {plain(metrics['version'])}. Read from {files}. {metrics['asked']} of {metrics['items']} items were asked; left out: {left_out} "
        "(`excluded.parquet`). A published score is over all items.\n",
        f"Scoring: {metrics['scorer']}.\n",
        "Accuracy in percent, with 95 % intervals over items. Noise is ours: each sound with one of "
        f"{metrics['noise_clips']} test noise clips of the catalog at each SNR; `noisy` is all levels together.\n",
        main_table(metrics) + "\n",
        ("" if metrics["chance"] is None else f"Guessing scores {100 * metrics['chance']:.1f}. ")
        + f"A published score hangs on its prompt; ours, of the first item:\n\n{fenced(metrics['prompt'])}\n",
        "## Other readings, and the gain\n",
        _other_table(metrics) + "\n",
    ]
    if metrics["chance"] is not None:
        parts += ["## First option, clean\n", _bias_table(metrics) + "\n"]
    if metrics["texts"]:
        parts += ["## What a description does\n", _text_table(metrics) + "\n"]
    for field, values in metrics["groups"].items():
        parts += [f"## By {plain(field)}\n", _group_table(field, values, metrics["methods"]) + "\n"]
    return "\n".join(parts)
