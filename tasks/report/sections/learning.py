"""What difficulty scores foretell, the curriculum that is made of them, and how training went through it."""

import json
from pathlib import Path
from typing import Any

from tasks.common.sha256sums import check_sum
from tasks.report import charts_material, charts_scores
from tasks.report.build import Build, Chart, Section
from tasks.report.gather import has, rows
from tasks.report.page import level, number, percent
from tasks.report.words import DIFFICULTY, SCORES

# Figures of train_log.jsonl that get a panel, as far as a method's log has them.
PANELS = {
    "loss": "loss",
    "reward": "mean reward",
    "signal": "share of groups with signal",
    "kl": "KL to the clean teacher",
    "snr_db": "mean SNR trained on (dB)",
    "stage": "mean stage trained on",
}


def scores(build: Build) -> Section | None:
    """SEE and the other difficulty scores against accuracy on validation mixtures, and what each foretells."""
    figures = {name: found for name, found in (build.metrics.get("difficulty") or {}).items() if isinstance(found, dict) and "auroc_flip" in found}
    if not figures:
        return None
    shown = {name: label for name, label in DIFFICULTY.items() if any(found.get(name) is not None for found in figures.values())}
    names = [name for name in SCORES if name != "snr" and has(build.connection, "difficulty", name, "student_correct")]
    means = ", ".join(f"avg({name}) AS {name}" for name in names)
    cells = (
        []
        if not names
        else rows(
            build.connection,
            f"SELECT noise_type, snr_db, avg(student_correct::INT) AS acc, count(*) AS n, {means} FROM difficulty "
            "WHERE split = 'validation' AND student_correct IS NOT NULL AND snr_db IS NOT NULL GROUP BY ALL ORDER BY ALL",
        )
    )
    names = [name for name in names if any(row[name] is not None for row in cells)]
    chart = None
    if names:
        table = [
            [row["noise_type"], level(row["snr_db"]), percent(row["acc"]), str(row["n"]), *(number(row[name], 3) for name in names)] for row in cells
        ]
        says = "A dot is a noise type at one SNR, a line a noise type: the un-adapted model’s accuracy over the mean score, validation mixtures."
        head = ("noise", "SNR, dB", "right, %", "questions", *(SCORES[name] for name in names))
        chart = Chart(charts_scores.scores(cells, names), says, head, table)
    best = (build.metrics.get("difficulty") or {}).get("best")
    return Section(
        "scores",
        "SEE and other scores",
        {"chart": chart, "figures": figures, "shown": shown, "names": SCORES, "best": best},
    )


def curriculum(build: Build) -> Section:
    """The curriculum's stages, and what each method's log says of the way through it."""
    found = rows(build.connection, "SELECT stage, snr_db, count(*) AS n FROM train WHERE snr_db IS NOT NULL GROUP BY ALL ORDER BY ALL")
    stages = rows(
        build.connection,
        """
        SELECT stage, count(*) AS n, count(DISTINCT mixture_id) AS mixtures, min(snr_db) AS low, max(snr_db) AS high,
               avg(reference_correct::INT) AS teacher, avg(kl_to_clean) AS kl
        FROM train GROUP BY stage ORDER BY stage
        """,
    )
    chart = None
    if found:
        says = f"{sum(row['n'] for row in found):,} training rows by stage and SNR."
        table = [[str(row["stage"]), level(row["snr_db"]), str(row["n"])] for row in found]
        chart = Chart(charts_material.stages(found), says, ("stage", "SNR, dB", "rows"), table)
    return Section("curriculum", "Curriculum", {"chart": chart, "stages": stages, "training": _training(build)})


def _training(build: Build) -> Chart | None:
    """Panels of what the methods' logs hold; validation accuracy last, dashed in quiet and whole in noise."""
    logs = {method: _log(Path("models") / method / "train_log.jsonl") for method in build.methods}
    panels: dict[str, dict[str, tuple[list[float], list[float], str]]] = {}
    for key, label in PANELS.items():
        for method, lines in logs.items():
            own = [(line["step"], line[key]) for line in lines if "step" in line and key in line]
            if own:
                panels.setdefault(label, {})[method] = ([step for step, _ in own], [value for _, value in own], "-")
    asked = {method: _asked(method, lines) for method, lines in logs.items()}
    for key, label, style in (("acc_clean", "validation accuracy in quiet", "o--"), ("acc_noisy", "validation accuracy in noise", "o-")):
        for method, points in asked.items():
            if points:
                panels.setdefault(label, {})[method] = ([point["step"] for point in points], [point[key] for point in points], style)
    if not panels:
        return None
    table = [
        [label, method, *(f"{step:g}: {value:.3g}" for step, value in (ends[0], ends[len(ends) // 2], ends[-1]))]
        for label, lines in panels.items()
        for method, (x, y, _) in lines.items()
        if (ends := list(zip(x, y, strict=True)))
    ]
    says = "Over training steps, from each method’s log. On the way the model answers few validation questions; before and after, all of them."
    svg = charts_scores.small_multiples(panels, "step", "training", "Figures of training over its steps", build.colours)
    return Chart(svg, says, ("figure", "method", "at the start", "half way", "at the end"), table)


def _log(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    check_sum(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _asked(method: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers to validation questions: the backbone's at step 0, looks on the way, the trained model's at the last step."""
    last = max((line["step"] for line in lines if "step" in line), default=0)
    before = [{**line, "step": 0} for line in lines if "model" in line and line["model"] != method and "acc_noisy" in line]
    after = [{**line, "step": last} for line in lines if line.get("model") == method and "acc_noisy" in line]
    return [*before, *(line for line in lines if "step" in line and "acc_noisy" in line), *after]
