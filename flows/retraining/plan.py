"""What a retraining would do, before it does anything.

The stages up to the plan of the mixtures run in a shadow of the project (flows.retraining.scratch), so the plan names the very mixtures; what
follows is counted from it. A stage counts as run if DVC calls it stale or something it reads would change.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dvc.repo import Repo

from flows.graph import Stage, leading_to
from flows.retraining.heard import current, last_model
from flows.retraining.scratch import Shadow, shadow
from tasks.common.cli import BUILD
from tasks.common.params import load
from tasks.common.tables import read_parquet, read_rows
from tasks.difficulty.params import DifficultyParams
from tasks.retrain.learn import shortened
from tasks.retrain.params import RetrainParams
from tasks.training.data import CURRICULUM
from tasks.training.params import run_params, training_params

SHADOWED = ("synthesis", "catalog", "rooms", "items")  # seconds to a minute, and all that the plan of the mixtures hangs on
LISTED = 10
NONE = pa.chunked_array([], pa.string())


@dataclass
class Plan:
    """What changed, what would run, how much of it, and how long the last build took for as much; `seconds` is None where it did none."""

    changed: dict[str, list[str]] = field(default_factory=dict)
    clips: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float | None] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The plan as text."""
        if not self.seconds:
            return ["nothing has changed, and every model has heard the curriculum as it is"]
        said = ["changed:"] + [f"  {stage}: {', '.join(reasons)}" for stage, reasons in self.changed.items()] if self.changed else []
        for kind, paths in self.clips.items():
            more = f" and {len(paths) - LISTED} more" if len(paths) > LISTED else ""
            said.append(f"  {kind}: {', '.join(paths[:LISTED])}{more}")
        said.append(f"would make: {', '.join(f'{count} {name}' for name, count in self.counts.items())}")
        said += [f"would train {method} for {steps} steps" for method, steps in self.steps.items()]
        if self.counts.get("mixtures removed"):
            said.append("removing does not unlearn: the models have heard the removed mixtures, and only training from scratch is free of them")
        said.append("estimated from the last build:")
        said += [f"  {name}: {'unknown, it did none' if took is None else f'{took:.0f} s'}" for name, took in self.seconds.items()]
        known, unknown = [took for took in self.seconds.values() if took is not None], list(self.seconds.values()).count(None)
        said.append(f"  together: {sum(known):.0f} s{f', and {unknown} unknown' if unknown else ''}")
        return said


def before_training(graph: list[Stage]) -> list[Stage]:
    """Every stage that a training stage needs, in order."""
    methods = [stage.name for stage in trainings(graph)]
    return [stage for stage in leading_to(graph, methods) if stage.name not in methods]


def trainings(graph: Sequence[Stage]) -> list[Stage]:
    """The stages that train a method."""
    return [stage for stage in graph if stage.module == "tasks.training"]


def reasons(status: Sequence[Any]) -> list[str]:
    """DVC's reasons that a stage is stale, a phrase each."""
    said: list[str] = []
    for reason in status:
        for kind, found in reason.items() if isinstance(reason, dict) else [(reason, {"": ""})]:
            for path, how in found.items():
                if isinstance(how, dict):
                    said += [f"{key} of {path} {state}" for key, state in how.items()]
                else:
                    said.append(f"{path} {how}".strip() if path else str(kind))
    return said


def touches(path: str, other: str) -> bool:
    """Whether one is the other, or holds it."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def plan(graph: list[Stage]) -> Plan:
    """The plan as things stand. Raises UserError for what a build would stop at, and where a method has no model to go on from."""
    first = before_training(graph)
    status = Repo().status(targets=[stage.name for stage in first])
    found = Plan(changed={name: reasons(why) for name, why in sorted(status.items())})
    nodes = {node.addressing: node for node in Repo().index.stages}
    runs, changed = [], set[str]()
    with shadow(Path()) as other:
        for stage in first:
            node = nodes[stage.name]
            if stage.name not in status and not any(touches(str(dep.def_path), path) for dep in node.deps for path in changed):
                continue
            runs.append(stage.name)
            outs = [str(out.def_path) for out in node.outs]
            if stage.name in SHADOWED:
                other.run([stage.module, *stage.args], outs, [str(out.def_path) for out in node.outs if out.persist])
                changed |= {path for out in outs for path in other.differing(out)}
            else:
                changed |= set(outs)
        if runs:
            _count(found, other, runs)
    training, how, heard_now = training_params(), load("retrain", RetrainParams), current().get(str(CURRICULUM))
    for last in map(last_model, trainings(graph)):
        if "curriculum" in runs or last.heard() != heard_now:
            found.steps[last.method] = shortened(run_params(training, last.method), how.step_share, how.learning_rate_share).steps
    _estimate(found, runs)
    return found


def _count(found: Plan, other: Shadow, runs: Sequence[str]) -> None:
    """Clips, mixtures, shards and references that would come and go."""
    for kind in ("speech", "noise", "rooms"):
        tables = [root / f"data/catalog/{kind}.parquet" for root in (other.folder, Path())]
        new, old = ({(row["path"], row["clip_id"]) for row in read_rows(table, ["path", "clip_id"])} if table.exists() else set() for table in tables)
        for name, clips in ((f"{kind} added", new - old), (f"{kind} removed", old - new)):
            if clips:
                found.clips[name] = sorted(path for path, _ in clips)
    manifest, measured = Path("data/mixtures_manifest.parquet"), Path("data/difficulty.parquet")
    planned = manifest
    if "mix" in runs:
        planned = other.folder / "preview.parquet"
        other.run(["tasks.retrain.preview", planned.name])
        new = read_parquet(planned, ["recipe_hash", "shard"])
        old = read_parquet(manifest, ["recipe_hash"])["recipe_hash"] if manifest.exists() else NONE
        missing = sum(not (Path("data/mixtures") / name).exists() for name in pc.unique(new["shard"]).to_pylist())
        found.counts |= {"mixtures added": without(new["recipe_hash"], old), "mixtures removed": without(old, new["recipe_hash"]), "shards": missing}
    if "difficulty" in runs:
        noisy = read_parquet(planned, ["mixture_id", "snr_db"], pc.is_valid(pc.field("snr_db")))["mixture_id"] if planned.exists() else NONE
        anew = "difficulty" in found.changed or "backbone" in runs  # then the answers of today's model and code are asked for again
        known = read_parquet(measured, ["mixture_id"])["mixture_id"] if measured.exists() and not anew else NONE
        found.counts["noisy mixtures to ask about"] = without(noisy, known)
    if {"items", "references"} & set(runs):
        items = read_rows(other.folder / "data/items.parquet", ["item_id", "task"])
        taught: set[str] = set()
        if "backbone" not in runs and "references" not in found.changed and Path("data/references").is_dir():  # else the teacher may answer anew
            tables = [Path("data/references"), Path("data/references_excluded.parquet")]
            taught = {row["item_id"] for table in tables for row in read_rows(table, ["item_id"])}
        found.counts["references"] = sum(item["item_id"] not in taught for item in items if item["task"] != "background")
    elif runs:
        found.counts["references"] = 0


def without(names: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    """How many different names are not among the others; as columns, because ten million Python texts take gigabytes."""
    return int(pc.sum(pc.invert(pc.is_in(pc.unique(names), value_set=pc.unique(others)))).as_py() or 0)


def _estimate(found: Plan, runs: Sequence[str]) -> None:
    """Seconds of every stage: of the last build, by what it did and what is to do."""
    build: dict[str, Any] = json.loads(BUILD.read_text(encoding="utf-8")) if BUILD.exists() else {}
    questions = found.counts.get("noisy mixtures to ask about", 0) * load("difficulty", DifficultyParams).items_per_mixture
    todo = {"mix": ("mixtures", found.counts.get("mixtures added", 0)), "references": ("references", found.counts.get("references", 0))}
    todo |= {"difficulty": ("questions", questions)}
    todo |= {f"train@{method}": ("steps", steps) for method, steps in found.steps.items()}
    for name in [*runs, *(f"train@{method}" for method in found.steps)]:
        last = build.get(name)
        if last is None:
            found.seconds[name] = None
        elif name not in todo:
            found.seconds[name] = float(last["seconds"])
        else:
            unit, count = todo[name]
            done = last["done"].get(unit, 0)
            found.seconds[name] = last["seconds"] * count / done if done else None if count else 0.0
