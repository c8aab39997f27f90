"""Catalogued clips as waveforms: the one reader of `path`."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.catalog.sound_files import SoundReader
from tasks.common.audio import Wave, decode, resample, to_mono
from tasks.common.params import corpora_root

_KEY = re.compile(r"(.+?\.parquet)#(.+)", re.S | re.I)
_ROW = re.compile(r"(.+\.(?:parquet|arrow))#([^#]+)\[(\d+)\]", re.S | re.I)
_SOFA = re.compile(r"(.+\.sofa)#(\d+)/(\d+)", re.S | re.I)
_STRETCH = re.compile(r"(.+)@(\d+)-(\d+)", re.S)

Cell = tuple[int, int, str, int]  # two numbers that say where in its file a clip is, its id, its rate


def load_clips(rows: Iterable[dict[str, Any]]) -> dict[str, Wave]:
    """clip_id to (frames,) float32 mono at 16 kHz, for rows of the catalog (`clip_id`, `path`, `sampling_rate`).

    A shard or a long recording that holds several of the rows is opened once. Raises soundfile.LibsndfileError,
    BadFileError or OSError where a file changed since it was catalogued.
    """
    keyed: dict[Path, dict[str, str]] = defaultdict(dict)
    numbered: dict[tuple[Path, str], dict[int, str]] = defaultdict(dict)
    sofas: dict[Path, list[Cell]] = defaultdict(list)
    stretches: dict[Path, list[Cell]] = defaultdict(list)
    waves: dict[str, Wave] = {}
    root = corpora_root()

    def file_of(path: str) -> Path:
        return Path(path) if path.startswith("data/") else root / path

    for row in rows:
        path, clip_id, rate = row["path"], row["clip_id"], row["sampling_rate"]
        if "#" in path and (match := _ROW.fullmatch(path)):
            numbered[file_of(match[1]), match[2]][int(match[3])] = clip_id
        elif "#" in path and (match := _KEY.fullmatch(path)):
            keyed[file_of(match[1])][match[2]] = clip_id
        elif "#" in path and (match := _SOFA.fullmatch(path)):
            sofas[file_of(match[1])].append((int(match[2]), int(match[3]), clip_id, rate))
        elif "@" in path and (match := _STRETCH.fullmatch(path)):
            stretches[file_of(match[1])].append((int(match[2]), int(match[3]), clip_id, rate))
        else:
            with SoundReader(file_of(path)) as sound:
                waves[clip_id] = resample(to_mono(sound.read(0, sound.frames)), rate)
    for file, keys in keyed.items():
        waves |= _from_shard(file, keys)
    for (file, column), numbers in numbered.items():
        waves |= {numbers[number]: resample(*decode(data)) for number, data in bytes_at(file, column, sorted(numbers))}
    for file, cells in sofas.items():
        with h5py.File(file, "r") as sofa:
            responses = np.asarray(sofa["Data.IR"], dtype=np.float32)
        waves |= {clip_id: resample(responses[measurement, receiver], rate) for measurement, receiver, clip_id, rate in cells}
    for file, cuts in stretches.items():
        with SoundReader(file) as sound:
            waves |= {clip_id: resample(to_mono(sound.read(start, end)), rate) for start, end, clip_id, rate in sorted(cuts)}
    return waves


def _from_shard(path: Path, keys: dict[str, str]) -> dict[str, Wave]:
    """Only the row groups that hold a wanted key are read, and only the wanted rows leave Arrow."""
    waves: dict[str, Wave] = {}
    wanted = pa.array(sorted(keys))
    with pq.ParquetFile(path) as shard:
        for group in range(shard.num_row_groups):
            names = _child(shard.read_row_group(group, columns=["audio.path"]), "audio", "path")
            hits = pc.indices_nonzero(pc.is_in(names, wanted)).to_pylist()
            if hits:
                data = _child(shard.read_row_group(group, columns=["audio.bytes"]), "audio", "bytes")
                waves |= {keys[names[hit].as_py()]: resample(*decode(data[hit].as_py())) for hit in hits}
    return waves


def bytes_at(path: Path, column: str, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
    """(row number, encoded sound) of ascending rows of a Parquet or Arrow shard in the form of Hugging Face's Audio feature."""
    if path.suffix.lower() == ".arrow":
        with pa.memory_map(str(path)) as source:
            data = _child(pa.ipc.open_stream(source).read_all().select([column]), column, "bytes")
            yield from ((number, data[number].as_py()) for number in numbers)
        return
    with pq.ParquetFile(path) as shard:
        first = 0
        for group in range(shard.num_row_groups):
            past = first + shard.metadata.row_group(group).num_rows
            inside = [number for number in numbers if first <= number < past]
            if inside:
                data = _child(shard.read_row_group(group, columns=[f"{column}.bytes"]), column, "bytes")
                yield from ((number, data[number - first].as_py()) for number in inside)
            first = past


def _child(table: pa.Table, column: str, name: str) -> pa.ChunkedArray:
    return pc.struct_field(table[column], name)
