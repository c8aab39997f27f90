"""The evaluate stage: plan the questions, collect every method's answers, write the tables and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.fanout import FanOut
from tasks.common.params import all_params, load
from tasks.common.seeds import folder_revision
from tasks.common.tables import read_rows
from tasks.evaluate.answering import Job, answer, generator, key_of, row_of
from tasks.evaluate.outputs import ANSWERS, REPORTS, write_outputs
from tasks.evaluate.params import BASE, EvaluateParams, model_folder
from tasks.evaluate.plan import Question, fits, plan
from tasks.mix.read import mixture_rows

# A log beside the weights changes nothing about the answers.
_REVISION = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt", "*.model")


def run(*, fan_out: FanOut) -> Counts:
    """Write reports/answers.parquet, results.parquet, metrics.json and plots/; answers already given are kept."""
    params = load("evaluate", EvaluateParams)
    revisions = {method: _revision(method) for method in params.methods}
    window_s = generator(str(model_folder(BASE)), revisions[BASE]).window_s
    questions, refused = _questions(params, window_s)
    rows, reused = _answers(params, revisions, questions, fan_out)

    write_outputs(pa.Table.from_pylist(rows, schema=ANSWERS), params, {"questions": len(questions), "clips_outside_window": refused})
    return Counts(done={"answers": len(rows) - reused}, reused={"answers": reused})


def _revision(method: str) -> str:
    folder = model_folder(method)
    if not (folder / "config.json").is_file():
        stage = "tasks.backbone" if method == BASE else f"tasks.training {method}"
        raise UserError(str(folder), "no model here (config.json is missing)", f"Run python -m {stage}, or take '{method}' out of evaluate.methods")
    return folder_revision(folder, _REVISION)


def _questions(params: EvaluateParams, window_s: float) -> tuple[list[Question], int]:
    speech = read_rows(Path("data/catalog/speech.parquet"), ["clip_id", "duration_s", "text"], [("split", "=", "test"), ("kind", "=", "utterance")])
    mixtures = mixture_rows(filters=[("split", "=", "test")])
    items = read_rows(Path("data/items.parquet"), filters=[("split", "=", "test")])
    heard, refused = fits(mixtures, {row["clip_id"]: row["duration_s"] for row in speech}, window_s)
    questions = plan(heard, items, {row["clip_id"]: row["text"] for row in speech}, params)
    if not questions:
        raise UserError("test split", "no noisy mixture has a question to ask", "Check the test shares of catalog and mix, and the model's window")
    return questions, refused


def _answers(params: EvaluateParams, revisions: dict[str, str], questions: Sequence[Question], fan_out: FanOut) -> tuple[list[dict[str, Any]], int]:
    """Rows in the order of methods and questions, and how many texts were kept from an earlier run."""
    keys = {method: [key_of(question, revisions[method], params.max_new_tokens) for question in questions] for method in params.methods}
    texts = _earlier_texts()
    jobs, new_keys = [], []
    for method in params.methods:
        new = [(key, question) for key, question in zip(keys[method], questions, strict=True) if key not in texts]
        for start in range(0, len(new), params.shard_size):
            shard = new[start : start + params.shard_size]
            new_keys += [key for key, _ in shard]
            asked = tuple(question for _, question in shard)
            jobs.append(Job(str(model_folder(method)), revisions[method], params.max_new_tokens, asked))
    given = [text for found in fan_out(answer, jobs, "answers") for text in found]
    texts.update(zip(new_keys, given, strict=True))
    seeds = {method: _seed(method) for method in params.methods}
    rows = [
        row_of(question, texts[key], method=method, seed=seeds[method], key=key)
        for method in params.methods
        for key, question in zip(keys[method], questions, strict=True)
    ]
    return rows, len(rows) - len(given)


def _earlier_texts() -> dict[str, str]:
    path = REPORTS / "answers.parquet"
    return {row["key"]: row["text"] for row in read_rows(path, ["key", "text"])} if path.exists() else {}


def _seed(method: str) -> int:
    """The seed a method's model was trained with."""
    params = all_params()
    section = params["backbone"] if method == BASE else params["training"].get(method)
    return int((section or {}).get("seed", 0))
