"""CAAD over plain distillation where its conditions hold (arXiv 2606.23052, MCR-BENCH): hints in the prompt, a teacher that believes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bench.results.hints import HINTS
from bench.results.jobs import Job, Results
from bench.results.stats import Estimate, columns, points, right, share
from bench.results.tables import table

SHARED, INDEPENDENT = "hints.hinting", "hints.independent"
HEARD = ("clean", "noisy")
PAPER = {"tau": 2.0, "weight": 0.7}  # of L_CD; KD is CAAD with alpha = 0
KD = {**PAPER, "response": "pseudo_gt", "steps": 110}
DROP = {**PAPER, "negative": "drop_audio", "steps": 104, "curriculum": {"schedule": "easy_to_hard"}}  # in the order KD has
# Steps give every method about the same CPU seconds (column of the table). Alpha was set on the validation split, one seed, 100 steps: by conflict,
# 6 took 21 points of Shift off KD's on clean speech and 25 on noisy; 9 took 23 and 23, and 1.7 off faithful in noise. Fixed it is the prototype's 1.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "start": ("base", {}),
    "SFT": ("sft", {"sft": {"response": "pseudo_gt", "steps": 165}}),
    "KD": ("kd", {"kd": KD}),
    "CAAD, fixed alpha": ("caad", {"caad": {**DROP, "alpha": 1.0, "alpha_schedule": "fixed"}}),
    "CAAD, alpha by conflict": ("caad", {"caad": {**DROP, "alpha": 6.0, "alpha_schedule": "difficulty"}}),
}
CONTROL = ("SFT", "KD", "CAAD, alpha by conflict")  # with independent errors, in the embedded world
HEAD = ["run", *HINTS, "mean", "Shift", "Shift over KD", "adversarial over KD", "mean over KD", "neutral over KD", "faithful over KD", "CPU s"]


def jobs(folders: Sequence[str], split: str, seeds: Sequence[int]) -> list[Job]:
    """Every run of every folder and seed, and the control."""
    kinds = tuple(f"{hint} {heard}" for heard in HEARD for hint in HINTS)
    everywhere = {"common": {"save_every": 0, "validate_every": 0}}
    return [
        Job(folder, name, method, seed, split, world=world, settings={**everywhere, **settings}, kinds=kinds)
        for folder in folders
        for world in (SHARED, INDEPENDENT)
        for name, (method, settings) in RUNS.items()
        if world == SHARED or (folder == "embedded" and name in CONTROL)
        for seed in (seeds if method != "base" else seeds[:1])
    ]


def shift(tables: Sequence[pa.Table], heard: str) -> Estimate:
    """Of the questions answered right alone, the share answered wrong behind the adversarial hint."""
    return share([_paired(answers, heard) for answers in tables], lambda asked: asked["shifted"].astype(float))


def _paired(answers: pa.Table, heard: str) -> pa.Table:
    asked = columns(answers)
    keys = list(zip(asked["mixture_id"], asked["item_id"], asked["kind"], strict=True))
    alone = {(mixture, item) for (mixture, item, kind), correct in zip(keys, asked["right"], strict=True) if correct and kind == f"neutral {heard}"}
    counts = np.array([kind == f"adversarial {heard}" and (mixture, item) in alone for mixture, item, kind in keys])
    return answers.append_column("shifted", pa.array(np.where(counts, 1.0 - asked["right"].astype(float), np.nan)))


def section(results: Results, folders: Sequence[str]) -> str:
    """A table for each world and way of hearing."""
    parts = ["## CAAD behind hints\n", INTRODUCTION]
    for folder in folders:
        for world, errors in ((SHARED, "Pseudo-GTs that share the hint's errors"), (INDEPENDENT, "as many errors, independent of the hint")):
            if results.has(folder, "KD", world):
                parts += [f"### {folder}, {heard}: {errors}\n\n" + comparison(results, folder, world, heard) for heard in HEARD]
    return "\n".join([*parts, FINDINGS])


def comparison(results: Results, folder: str, world: str, heard: str) -> str:
    """The runs of one world by hint, with paired differences to KD."""
    found: dict[str, dict[str, Estimate]] = {}
    for name in (name for name in RUNS if results.has(folder, name, world)):
        answers = results.tables(folder, name, world)
        figures = {hint: share(answers, right(f"{hint} {heard}")) for hint in HINTS}
        found[name] = {**figures, "mean": np.mean(list(figures.values()), axis=0), "Shift": shift(answers, heard)}
    lines = []
    for name, figures in found.items():
        shown = [f"{100 * figures[hint][0]:.1f}" for hint in (*HINTS, "mean", "Shift")]
        over = [points(figures[key] - found["KD"][key], sign=True) for key in ("Shift", "adversarial", "mean", "neutral", "faithful")]
        lines.append([name, *shown, *(over if name != "KD" else [""] * 5), f"{results.seconds(folder, name, world):.0f}"])
    return table(HEAD, lines) + "\n" + verdict(found["CAAD, alpha by conflict"], found["KD"])


def verdict(ours: dict[str, Estimate], plain: dict[str, Estimate]) -> str:
    """The goals over KD, each with what was measured."""
    over = {key: 100 * float((ours[key] - plain[key])[0]) for key in ours}
    worst = min(over["faithful"], over["neutral"])
    measured = [("Shift", over["Shift"], -25.0), ("adversarial", over["adversarial"], 15.0), ("mean", over["mean"], 3.0)]
    said = [f"{name} {value:+.1f} of {goal:+.0f}" for name, value, goal in (*measured, ("worst of faithful and neutral", worst, -1.0))]
    return f"Alpha by conflict over KD, points and goals: {', '.join(said)}.\n"


INTRODUCTION = """\
Each question stands alone (neutral), behind the right transcript (faithful), behind one that is wrong exactly where it asks (adversarial), or
behind a note about other words (irrelevant). The start, which is also the teacher, has learnt that transcripts are right. The Pseudo-GTs have
an error in 15 % of the items: the hint's (their author read it too, so six in ten answers behind an adversarial hint are its lie) or, as a control,
one of their own. Shift: of the questions answered right alone, the share answered wrong behind the adversarial hint. Differences to KD, which is
CAAD with alpha = 0, have 95 % intervals, paired over clips and seeds. Alpha by conflict is 6 times how far hearing takes away what the text alone
has decided ([CAAD](training.md#caad)); its mean over items in training was 0.7 to 1.1, about that of the fixed alpha, which is 1.
"""

FINDINGS = """\
On the embedded default the contrast does what the paper says: over plain distillation it makes adversarial hints less convincing and costs the
other questions nothing on clean speech. There alpha by conflict takes more off Shift than a fixed alpha of the same mean, because it acts where
text and sound disagree; in noise the two are within the error of each other. The goal for Shift is missed: a quarter of the adversarial items
have a conflict below 0.2, so the teacher's z+ holds hardly a trace of the sound, and no alpha brings back what it does not hold. SFT on the same
Pseudo-GTs has the lowest Shift of all, and by far where their errors are independent of the hint: it has no teacher that believes hints. The
contrast repairs a biased teacher; a student with labels that are mostly right does better without one.
"""
