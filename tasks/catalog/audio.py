"""Catalogued clips as waveforms: the one reader of `path`."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq

from tasks.catalog.sound_files import open_sound, read_stretches
from tasks.common.audio import Wave, decode, resample, to_mono
from tasks.common.params import corpora_root

_PARQUET = re.compile(r"(.+?\.parquet)#(.+)", re.S | re.I)
_SOFA = re.compile(r"(.+\.sofa)#(\d+)/(\d+)", re.S | re.I)
_STRETCH = re.compile(r"(.+)@(\d+)-(\d+)", re.S)


def load_clips(rows: Iterable[dict[str, Any]]) -> dict[str, Wave]:
    """clip_id to (frames,) float32 mono at 16 kHz, for rows of the catalog (`clip_id`, `path`, `sampling_rate`).

    A shard or a long recording that holds several of the rows is opened once. Raises soundfile.LibsndfileError,
    BadFileError or OSError where a file changed since it was catalogued.
    """
    shards: dict[Path, dict[str, str]] = defaultdict(dict)
    sofas: dict[Path, list[tuple[int, int, str, int]]] = defaultdict(list)
    stretches: dict[Path, list[tuple[int, int, str, int]]] = defaultdict(list)
    waves: dict[str, Wave] = {}
    root = corpora_root()

    def file_of(path: str) -> Path:
        return Path(path) if path.startswith("data/") else root / path

    for row in rows:
        path, clip_id, rate = row["path"], row["clip_id"], row["sampling_rate"]
        if match := _PARQUET.fullmatch(path):
            shards[file_of(match[1])][match[2]] = clip_id
        elif match := _SOFA.fullmatch(path):
            sofas[file_of(match[1])].append((int(match[2]), int(match[3]), clip_id, rate))
        elif match := _STRETCH.fullmatch(path):
            stretches[file_of(match[1])].append((int(match[2]), int(match[3]), clip_id, rate))
        else:
            with open_sound(file_of(path)) as sound:
                waves[clip_id] = resample(to_mono(sound.read(dtype="float32")), rate)
    for file, keys in shards.items():
        waves |= _from_shard(file, keys)
    for file, cells in sofas.items():
        with h5py.File(file, "r") as sofa:
            responses = np.asarray(sofa["Data.IR"], dtype=np.float32)
        waves |= {clip_id: resample(responses[measurement, receiver], rate) for measurement, receiver, clip_id, rate in cells}
    for file, cuts in stretches.items():
        cuts.sort()
        for (_, _, clip_id, rate), samples in zip(cuts, read_stretches(file, [cut[:2] for cut in cuts]), strict=True):
            waves[clip_id] = resample(to_mono(samples), rate)
    return waves


def _from_shard(path: Path, keys: dict[str, str]) -> dict[str, Wave]:
    """Only the row groups that hold a wanted key are read."""
    waves: dict[str, Wave] = {}
    with pq.ParquetFile(path) as shard:
        for group in range(shard.num_row_groups):
            names = [row["audio"]["path"] for row in shard.read_row_group(group, columns=["audio.path"]).to_pylist()]
            if keys.keys().isdisjoint(names):
                continue
            for row in shard.read_row_group(group, columns=["audio.bytes", "audio.path"]).to_pylist():
                clip_id = keys.get(row["audio"]["path"])
                if clip_id is not None:
                    waves[clip_id] = resample(*decode(row["audio"]["bytes"]))
    return waves
