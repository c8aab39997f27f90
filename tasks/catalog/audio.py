"""Catalogued clips as waveforms: the one reader of `path`."""

import hashlib
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.catalog.found import Samples, clip_id_of
from tasks.catalog.hdf5 import own
from tasks.catalog.sound_files import SEEKABLE, SoundReader
from tasks.common.audio import Wave, decode, resample, to_mono
from tasks.common.checksums import CheckedFile
from tasks.common.errors import UserError
from tasks.common.params import corpora_root
from tasks.common.seeds import file_sha256

_KEY = re.compile(r"(.+?\.parquet)#(.+)", re.S | re.I)
_ROW = re.compile(r"(.+\.(?:parquet|arrow))#([^#]+)\[(\d+)\]", re.S | re.I)
_SOFA = re.compile(r"(.+\.sofa)#(\d+)/(\d+)", re.S | re.I)
_STRETCH = re.compile(r"(.+)@(\d+)-(\d+)", re.S)

Cell = tuple[int, int, str, int]  # two numbers that say where in its file a clip is, its id, its rate


def holder(path: str) -> str:
    """The file of a catalogued `path`: without the clip's place in a shard, a SOFA file or a long recording."""
    match = next(filter(None, (form.fullmatch(path) for form in ((_ROW, _KEY, _SOFA) if "#" in path else (_STRETCH,)))), None)
    return match[1] if match else path


def load_clips(rows: Iterable[dict[str, Any]]) -> dict[str, Wave]:
    """clip_id to (frames,) float32 mono at 16 kHz, for rows of the catalog (`clip_id`, `path`, `sampling_rate`, `sha256`).

    A shard or a long recording that holds several of the rows is opened once. Raises soundfile.LibsndfileError, BadFileError or OSError where
    a file cannot be read any more, and UserError where it is not what was catalogued, if rows have their `sha256`; stretches of a coded
    recording (MP3, Ogg) are not checked.
    """
    keyed: dict[Path, dict[str, str]] = defaultdict(dict)
    numbered: dict[tuple[Path, str], dict[int, str]] = defaultdict(dict)
    sofas: dict[Path, list[Cell]] = defaultdict(list)
    stretches: dict[Path, list[Cell]] = defaultdict(list)
    sums: dict[str, str | None] = {}
    waves: dict[str, Wave] = {}
    root = corpora_root()

    def file_of(path: str) -> Path:
        return Path(path) if path.startswith("data/") else root / path

    for row in rows:
        path, clip_id, rate = row["path"], row["clip_id"], row["sampling_rate"]
        sums[clip_id] = row.get("sha256")
        if "#" in path and (match := _ROW.fullmatch(path)):
            numbered[file_of(match[1]), match[2]][int(match[3])] = clip_id
        elif "#" in path and (match := _KEY.fullmatch(path)):
            keyed[file_of(match[1])][match[2]] = clip_id
        elif "#" in path and (match := _SOFA.fullmatch(path)):
            sofas[file_of(match[1])].append((int(match[2]), int(match[3]), clip_id, rate))
        elif "@" in path and (match := _STRETCH.fullmatch(path)):
            stretches[file_of(match[1])].append((int(match[2]), int(match[3]), clip_id, rate))
        else:
            file = file_of(path)
            if sums[clip_id]:
                as_catalogued(file, file_sha256(file), sums[clip_id])
            with SoundReader(file) as sound:
                waves[clip_id] = resample(to_mono(sound.read(0, sound.frames)), rate)
    for file, keys in keyed.items():
        for key, data in _from_shard(file, keys):
            waves[keys[key]] = _decoded(file, data, sums[keys[key]])
    for (file, column), numbers in numbered.items():
        waves |= {numbers[number]: _decoded(file, data, sums[numbers[number]]) for number, data in bytes_at(file, column, sorted(numbers))}
    for file, cells in sofas.items():
        with h5py.File(file, "r") as sofa:
            responses = np.asarray(own(sofa, "Data.IR"), dtype=np.float32)
        for measurement, receiver, clip_id, rate in cells:
            waves[clip_id] = resample(_known(file, responses[measurement, receiver], rate, clip_id, sums), rate)
    for file, cuts in stretches.items():
        with SoundReader(file) as sound:
            for start, end, clip_id, rate in sorted(cuts):
                samples = sound.read(start, end)
                if sound.sound.format in SEEKABLE:  # what a coded one decodes to hangs on its decoder
                    _known(file, samples, rate, clip_id, sums)
                waves[clip_id] = resample(to_mono(samples), rate)
    return waves


def as_catalogued(file: Path, found: str, catalogued: str | None) -> None:
    """Raises UserError where two ids of a recording differ: that of what was read of it, and that in the catalog."""
    if found != catalogued:
        todo = f"Put the recording back, or take it as it is now: touch {shlex.quote(str(file))} && make curriculum"
        raise UserError(str(file), "its content is not what was catalogued (checksum)", todo)


def _decoded(file: Path, data: bytes, sha256: str | None) -> Wave:
    if sha256:
        as_catalogued(file, hashlib.sha256(data).hexdigest(), sha256)
    return resample(*decode(data))


def _known(file: Path, samples: Samples, rate: int, clip_id: str, sums: Mapping[str, str | None]) -> Samples:
    """A part of a file too large to hash for it: known by its samples."""
    if sums[clip_id]:
        as_catalogued(file, clip_id_of(samples, rate), clip_id)
    return samples


def _from_shard(path: Path, keys: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """(key, encoded sound); only the row groups that hold a wanted key are read, and only the wanted rows leave Arrow."""
    wanted = pa.array(sorted(keys))
    with CheckedFile(path) as shard:
        for group in range(shard.num_row_groups):
            names = _child(shard.read_row_group(group, columns=["audio.path"]), "audio", "path")
            hits = pc.indices_nonzero(pc.is_in(names, wanted)).to_pylist()
            if hits:
                data = _child(shard.read_row_group(group, columns=["audio.bytes"]), "audio", "bytes")
                yield from ((names[hit].as_py(), data[hit].as_py()) for hit in hits)


def bytes_at(path: Path, column: str, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
    """(row number, encoded sound) of ascending rows of a Parquet or Arrow shard in the form of Hugging Face's Audio feature."""
    if path.suffix.lower() == ".arrow":
        with pa.memory_map(str(path)) as source:
            data = _child(pa.ipc.open_stream(source).read_all().select([column]), column, "bytes")
            yield from ((number, data[number].as_py()) for number in numbers)
        return
    with CheckedFile(path) as shard:
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
