"""Peak memory of the mix stage on 1,000 and on 20,000 mixtures: `python -m tasks.mix` with two workers, a fresh process tree each.

Utterances of 2 s, noises of 4 s, 100 mixtures a noise clip, 8 rooms; 20 times as many clips for 20 times as many mixtures. The peak is the largest
of samples, 30 ms apart, of the memory that the stage and its workers hold together (proportional set size, so a shared page counts once).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf
import yaml

from bench.table import Row
from tasks.common.audio import RATE
from tasks.common.seeds import content_id, rng_of
from tasks.common.tables import write_parquet
from tasks.rooms.measure import DIRECT
from tasks.rooms.stage import SCHEMA as ROOM_SCHEMA

ROOT = Path(__file__).resolve().parent.parent
PER_NOISE, WORKERS = 100, 2


def clip(folder: Path, kind: str, number: int, seconds: float) -> dict[str, Any]:
    """A recording on disk and its row of the catalog."""
    path = folder / f"sounds/{kind}/{number}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, rng_of(kind, number).normal(0.0, 0.05, round(seconds * RATE)).astype(np.float32), RATE, subtype="PCM_16")
    row = {"clip_id": content_id([kind, number]), "corpus": kind, "path": f"{kind}/{number}.wav", "sha256": "", "sampling_rate": RATE}
    row |= {"licence": "CC0-1.0", "split": "train", "metadata": "{}", "kind": "utterance", "noise_type": "type", "speaker": str(number % 40)}
    return row


def write_project(folder: Path, mixtures: int) -> None:
    """Catalog, rooms and parameters for so many noisy mixtures."""
    for kind, count, seconds in (("speech", mixtures // 20, 2.0), ("noise", mixtures // PER_NOISE, 4.0)):
        rows = [clip(folder, kind, number, seconds) for number in range(count)]
        write_parquet(folder / f"data/catalog/{kind}.parquet", pa.Table.from_pylist(rows))
    rooms = []
    for number in range(8):
        rir = rng_of("room", number).normal(0.0, 0.05, RATE // 2) * np.exp(-np.arange(RATE // 2) / 1000)
        rir[:DIRECT], rir[DIRECT] = 0.0, 1.0
        rooms.append({"room_id": content_id(["room", number]), "split": "train", "rir": rir, "licence": "CC0-1.0", "metadata": "{}"})
    write_parquet(folder / "data/rooms/rooms.parquet", rooms, ROOM_SCHEMA)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"profile": "tiny", "corpora": str(folder / "sounds")}
    params["mix"]["per_noise"] = dict.fromkeys(("train", "validation", "test"), PER_NOISE)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in ("profiles", "catalogs"):
        (folder / name).symlink_to(ROOT / name)


def tree_of(pid: int) -> list[int]:
    """The process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in tree_of(int(child)))]


def held_by(pid: int) -> int:
    """Proportional set size in KiB, 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def peak_memory(mixtures: int) -> tuple[float, int]:
    """MiB at the peak, and the mixtures made."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_project(folder, mixtures)
        environment = {**os.environ, "WORKERS": str(WORKERS), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-m", "tasks.mix"], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(held_by, tree_of(process.pid))))
            time.sleep(0.03)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, "python -m tasks.mix")
        made: int = pq.read_metadata(folder / "data/mixtures_manifest.parquet").num_rows
        return peak / 1024, made


def rows() -> list[Row]:
    """`peak_memory_20k_over_1k`."""
    (small, few), (large, many) = peak_memory(1_000), peak_memory(20_000)
    note = f"{large:,.0f} MiB for {many:,} mixtures over {small:,.0f} MiB for {few:,}, the stage and {WORKERS} workers together"
    return [Row("peak_memory_20k_over_1k", "ratio", round(large / small, 3), note=note)]
