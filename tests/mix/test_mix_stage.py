"""The stage on a small catalog: reuse, what a new noise clip rewrites, worker counts, and reading back."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf

from tasks.common.audio import RATE, active_power
from tasks.common.fanout import in_process, in_workers
from tasks.common.seeds import content_id
from tasks.common.tables import write_parquet
from tasks.mix.read import mixture_rows, mixture_waves, waves_of
from tasks.mix.shards import MIXTURES
from tasks.mix.stage import run
from tasks.rooms.measure import DIRECT
from tasks.rooms.stage import SCHEMA as ROOM_SCHEMA

ROOT = Path(__file__).parents[2]
PARAMS = """
profile: tiny
corpora: data/corpora
mix:
  snr_db: [-5, 5]
  per_noise: {train: 5, validation: 2, test: 3}
  noise_reverb_share: 0.5
  speech_reverb_share: 0.5
  level_dbfs: [-32.0, -20.0]
  peak: 0.99
  buckets: 2
"""


def clip(kind: str, number: int, seconds: float) -> dict[str, Any]:
    """A recording on disk and its row of the catalog."""
    name = content_id([kind, number])
    wave = np.random.default_rng(number).normal(0, 0.05, int(seconds * RATE)).astype(np.float32)
    path = Path(f"data/corpora/{kind}/{name}.wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wave, RATE, subtype="PCM_16")
    split = ("train", "validation", "test")[number % 3]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    row = {"clip_id": name, "path": f"{kind}/{name}.wav", "sha256": digest, "sampling_rate": RATE, "split": split, "metadata": "{}"}
    return {**row, "kind": "utterance", "noise_type": f"type{number % 2}", "corpus": kind, "duration_s": seconds, "channels": 1}


def write_catalog(noise: list[int]) -> None:
    for kind, numbers, seconds in (("speech", range(100, 112), 0.5), ("noise", noise, 1.0)):
        write_parquet(Path(f"data/catalog/{kind}.parquet"), pa.Table.from_pylist([clip(kind, number, seconds) for number in numbers]))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with 12 utterances, 9 noise clips and a room a split."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    write_catalog(list(range(9)))
    rir = np.zeros(DIRECT + 2000, np.float32)
    rir[DIRECT], rir[DIRECT + 900] = 1.0, 0.3
    rooms = [{"room_id": content_id(["room", split]), "split": split, "rir": rir} for split in ("train", "validation", "test")]
    write_parquet(Path("data/rooms/all.parquet"), rooms, ROOM_SCHEMA)
    return tmp_path


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in MIXTURES.iterdir()}


def test_mix_stage_reuses_and_rewrites_only_what_changed(project: Path) -> None:
    counts = run(in_process)
    before = files()
    total = len(mixture_rows())
    assert counts.done == {"mixtures": total, "shards": len(before)} and counts.reused == {"mixtures": 0, "shards": 0}
    noisy = [row for row in mixture_rows() if row["noise_ids"]]
    assert len(noisy) == 3 * (5 + 2 + 3)
    assert all(abs(row["snr_db_measured"] - row["snr_db"]) < 0.1 for row in noisy)

    again = run(in_process)
    assert again.done == {"mixtures": 0, "shards": 0} and again.reused == {"mixtures": total, "shards": len(before)}
    assert files() == before

    bucket = int(content_id(["noise", 0]), 16) % 2
    beside = next(number for number in range(9, 99, 3) if int(content_id(["noise", number]), 16) % 2 == bucket)
    write_catalog([*range(9), beside])  # one more noise clip of the training split, in the bucket of the first
    grown = run(in_process)
    assert grown.done == {"mixtures": 5, "shards": 1} and grown.reused["mixtures"] == total
    after = files()
    assert len(mixture_rows()) == total + 5
    assert len(after.keys() - before.keys()) == 1 and len(before.keys() - after.keys()) == 1
    assert next(iter(after.keys() - before.keys())).startswith("train-noise-")

    write_catalog(list(range(9)))
    run(in_process)
    assert files() == before, "a shard made of kept rows has the bytes of one made afresh"


def test_mix_workers_change_no_byte(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(in_process)
    alone = files()
    shutil.rmtree(MIXTURES)
    monkeypatch.setenv("WORKERS", "2")
    run(in_workers)
    assert files() == alone


def test_mix_a_killed_writer_leaves_nothing_behind(project: Path) -> None:
    run(in_process)
    before = files()
    victim = sorted(before)[0]
    (MIXTURES / victim).unlink()
    (MIXTURES / f".{victim}.1.tmp").write_bytes(b"half a file")
    run(in_process)
    assert files() == before


def test_mix_reading(project: Path) -> None:
    run(in_process)
    rows = mixture_rows(["mixture_id", "clip_id", "corruption", "audio"])
    everything = mixture_waves(rows)
    some = [row["mixture_id"] for row in rows[::5]]
    waves = waves_of(some)
    assert waves.keys() == set(some)
    for name in some:
        assert waves[name].tobytes() == everything[name].tobytes()
        assert waves[name].dtype == np.float32 and len(waves[name]) == RATE // 2 and active_power(waves[name]) > 0
    with pytest.raises(KeyError, match="1 of 1"):
        waves_of(["0" * 16])
    clean = next(row for row in rows if row["corruption"] == "clean")
    source = sf.read(f"data/corpora/speech/{clean['clip_id']}.wav", dtype="float32")[0]
    assert everything[clean["mixture_id"]].tobytes() == source.tobytes(), "a clean row is the clip as catalogued"
    assert {row["split"] for row in mixture_rows(filters=[("split", "=", "test")])} == {"test"}


def test_mix_a_silent_noise_is_left_out_and_said(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    silent = content_id(["noise", 0])
    sf.write(f"data/corpora/noise/{silent}.wav", np.zeros(RATE, np.float32), RATE, subtype="PCM_16")
    run(in_process)
    assert not any(silent in row["noise_ids"] for row in mixture_rows())
    assert f"noise/{silent}.wav is left out: the noise is silent" in caplog.text
