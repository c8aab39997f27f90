"""The stage on a small test split and two random models: same answers however they are cut, and no answer asked for twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import ModelParams
from tasks.common.audio import encode_flac
from tasks.common.errors import UserError
from tasks.common.fanout import in_process
from tasks.common.tables import read_rows, write_parquet
from tasks.evaluate.stage import run
from tasks.items.prompt import prompt_text, response_text
from tasks.mix.shards import SCHEMA

CLIPS = {"clipa": "oak", "clipb": "elm", "clipc": "ash oak", "long": "elm ash"}
OPTIONS = ["oak", "elm", "ash", "fir"]
OUTPUTS = ("answers.parquet", "results.parquet", "metrics.json", "plots/accuracy_over_snr.csv", "plots/accuracy_by_noise.csv")


def wave(*seed: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(list(seed)).normal(size=16000)).astype(np.float32)


def mixture(name: str, clip: str, seed: int, noise: str | None = None, snr: float | None = None) -> dict[str, Any]:
    return {
        "mixture_id": name,
        "clip_id": clip,
        "noise_ids": [noise] if noise else [],
        "noise_type": "rain" if noise else None,
        "snr_db": snr,
        "corruption": "noise" if noise else "clean",
        "split": "test",
        "audio": {"bytes": encode_flac(wave(seed)), "path": name},
        "sampling_rate": 16000,
    }


def write_split(root: Path) -> None:
    speech = [
        {"clip_id": clip, "duration_s": 5.0 if clip == "long" else 1.0, "text": text, "split": "test", "kind": "utterance"}
        for clip, text in CLIPS.items()
    ]
    write_parquet(root / "data/catalog/speech.parquet", pa.Table.from_pylist(speech))
    mixtures = [mixture(f"clean-{clip}", clip, i) for i, clip in enumerate(CLIPS)]
    mixtures += [mixture(f"{clip}{snr:g}", clip, 10 + i, "n0", snr) for i, clip in enumerate(CLIPS) for snr in (-5.0, 5.0)]
    write_parquet(root / "data/mixtures/test.parquet", mixtures, SCHEMA)
    items = [
        {"item_id": f"{clip}-{task}", "clip_id": clip, "question": f"{task}?", "options": OPTIONS, "answer": "oak", "task": task, "split": "test"}
        for clip, task in [*((clip, task) for clip in CLIPS for task in ("first", "last", "conflict")), ("n0", "background")]
    ]
    write_parquet(root / "data/items.parquet", pa.Table.from_pylist(items))
    hard = [{"split": "validation", "noise_type": "rain", "snr_db": 5.0, "kl_to_clean": 0.1 * i, "agrees_with_clean": i < 2} for i in range(4)]
    write_parquet(root / "data/difficulty.parquet", pa.Table.from_pylist(hard))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    processor = build_processor([prompt_text("first? last? conflict? background?", OPTIONS), response_text(OPTIONS, "oak")], 2)
    for seed, name in enumerate(("backbone", "caad")):
        save(build_model(processor, ModelParams(width=32, audio_layers=1, text_layers=1, text_ffn=64, seed=seed)), processor, root / name)
    return root


@pytest.fixture
def split(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(models)
    write_split(tmp_path)
    set_params(tmp_path, 1000)
    return tmp_path


def set_params(root: Path, shard_size: int, methods: str = "base, caad") -> None:
    (root / "profiles").mkdir(exist_ok=True)
    (root / "profiles/tiny.yaml").write_text("evaluate: {}\n")
    text = f"methods: [{methods}], items_per_mixture: 2, control_items: 4, max_new_tokens: 6, bootstrap: 100, shard_size: {shard_size}"
    (root / "params.yaml").write_text(f"profile: tiny\nbackbone: {{}}\ntraining: {{caad: {{seed: 3}}}}\nevaluate: {{{text}}}\n")


def outputs(root: Path) -> dict[str, bytes]:
    return {name: (root / "reports" / name).read_bytes() for name in OUTPUTS}


def test_each_model_answers_each_question_once_and_then_never_again(split: Path) -> None:
    first = run(fan_out=in_process)
    rows = read_rows(Path("reports/answers.parquet"))
    asked = [(row["method"], row["condition"], row["mixture_id"], row["item_id"]) for row in rows]
    assert len(asked) == len(set(asked)) == first.done["answers"]
    # Three clips at two SNRs with two core questions, a conflict and a background one; three a clip again in quiet; controls.
    assert len([name for name in asked if name[0] == "caad"]) == 3 * 2 * 4 + 3 * 3 + 4 + 4
    assert {row["seed"] for row in rows if row["method"] == "caad"} == {3}
    before = outputs(split)
    again = run(fan_out=in_process)
    assert (again.done["answers"], again.reused["answers"]) == (0, len(rows))
    assert outputs(split) == before


def test_shards_change_no_byte(split: Path) -> None:
    run(fan_out=in_process)
    whole = outputs(split)
    (split / "reports/answers.parquet").unlink()
    set_params(split, 7)
    run(fan_out=in_process)
    assert outputs(split) == whole


def test_a_new_mixture_costs_its_own_questions_only(split: Path) -> None:
    run(fan_out=in_process)
    extra = mixture("new", "clipa", 99, "n0", 5.0)
    write_parquet(split / "data/mixtures/zz.parquet", [extra], SCHEMA)
    assert run(fan_out=in_process).done["answers"] == 2 * 4


def test_a_clip_longer_than_the_window_is_counted_and_not_asked_about(split: Path) -> None:
    run(fan_out=in_process)
    assert json.loads(Path("reports/metrics.json").read_text())["counts"]["clips_outside_window"] == 1
    assert "long" not in {row["clip_id"] for row in read_rows(Path("reports/answers.parquet"))}


def test_a_model_that_is_not_there_is_named(split: Path) -> None:
    set_params(split, 10, "base, echodistill")
    with pytest.raises(UserError, match=r"models/echodistill.*tasks\.training echodistill"):
        run(fan_out=in_process)
