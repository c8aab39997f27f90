"""A random tiny model, and a curriculum in a project's folder in which a method can be retrained in a few steps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import ModelParams
from tasks.common.audio import Wave, encode_flac
from tasks.common.seeds import rng_of
from tasks.common.tables import write_parquet
from tasks.items.prompt import prompt_text, response_text
from tasks.retrain import judge, learn
from tasks.training.params import laid

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
WORDS = ["lamp", "tree", "boat", "cow"]
IDS = pa.list_(pa.int64())


def sound(*name: Any) -> Wave:
    """Half a second of noise of its own for each name."""
    return (0.1 * rng_of("sound", *name).standard_normal(8000)).astype(np.float32)


def row_of(number: int, ids: Sequence[int]) -> Row:
    """A curriculum row; its clip is one of three."""
    return {
        "mixture_id": f"{number:016x}",
        "item_id": f"{number + 100:016x}",
        "clip_id": f"clip{number % 3}",
        "stage": 1 + number % 2,
        "snr_db": [10.0, 0.0][number % 2],
        "noise_type": "white",
        "task": "first",
        "prompt": prompt_text("first word?", WORDS),
        "options": WORDS,
        "answer": WORDS[number % 4],
        "transcript": WORDS[number % 4],
        "audio": {"bytes": encode_flac(sound("noisy", number)), "path": None},
        "reference_token_ids": list(ids),
        "reference_correct": True,
        "pseudo_gt_token_ids": list(ids),
        "kl_to_clean": 0.1,
    }


@pytest.fixture(scope="session")
def processor() -> Any:
    return build_processor([f" {word}" for word in [*WORDS, "first", "word?", "options:", "what"]], window_s=1)


@pytest.fixture(scope="session")
def backbone(processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models") / "backbone"
    save(build_model(processor, ModelParams()), processor, folder)
    return folder


@pytest.fixture(scope="session")
def rows(processor: Any) -> Callable[[Sequence[int]], list[Row]]:
    """Rows by number."""

    def of(numbers: Sequence[int]) -> list[Row]:
        tokenizer = processor.tokenizer
        made = []
        for number in numbers:
            said = tokenizer(response_text([WORDS[number % 4]], WORDS[number % 4]))["input_ids"]
            made.append(row_of(number, [*said, tokenizer.eos_token_id]))
        return made

    return of


@pytest.fixture
def project(tmp_path: Path, backbone: Path, rows: Callable[[Sequence[int]], list[Row]], monkeypatch: pytest.MonkeyPatch) -> learn.Job:
    """A project with an old curriculum of rows 0 to 5 and a new one of 1 to 9 (0 is gone): what retraining `kd` in it takes."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    small = {"threads": 1, "validation_rows": 4, "max_new_tokens": 2, "common": {"steps": 10, "batch_items": 4, "warmup_steps": 1, "save_every": 0}}
    retrain = {**params["retrain"], "margin_points": 100.0}
    written = {"profile": "tiny", "corpora": "data/corpora", "training": laid(params["training"], small), "retrain": retrain}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(written))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/tiny.yaml").write_text("training: {}\n")
    (tmp_path / "models/kd").parent.mkdir()
    for name in ("backbone", "kd"):
        (tmp_path / "models" / name).symlink_to(backbone)
    monkeypatch.chdir(tmp_path)
    for folder, numbers in (("old", range(6)), ("data/curriculum", range(1, 10))):
        for name in ("train/1", "heldout/validation"):
            write_parquet(tmp_path / folder / f"{name}.parquet", pa.Table.from_pylist(rows(numbers)))
    waves = {f"clip{number}": sound("clean", number) for number in range(3)}
    for module in (learn, judge):
        monkeypatch.setattr(module, "clean_waves", lambda _: waves)
    old = tmp_path / "old"
    lineage = {"method": "kd", "from": "models/kd", "scratch": "abc", "curricula": [{"data/curriculum": "a.dir"}], "retrainings": [], "lock": {}}
    return learn.Job("kd", Path("models/kd"), (old / "train/1.parquet",), (old / "heldout/validation.parquet",), lineage)
