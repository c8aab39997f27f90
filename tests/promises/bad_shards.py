"""Shards of Parquet, Arrow and HDF5 with something wrong inside, and the reason that each gives; most were found by the fuzz test."""

import io
import struct
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.promises.bad_sounds import encoded, flipped, tones


@dataclass(frozen=True)
class Shard:
    """A shard by its suffix: what is wrong in it, its bytes, and the reason of the refusal; every other row is taken."""

    suffix: str
    what: str
    data: bytes
    reason: str


def _parquet(column: list[Any], **more: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"audio": column, **more}), buffer)
    return buffer.getvalue()


def _sound(data: Any, name: str = "a") -> dict[str, Any]:
    return {"bytes": data, "path": name}


def _offsets() -> bytes:
    """An Arrow stream whose texts begin where no text is: read as it stands, it takes the process down."""
    sink = io.BytesIO()
    table = pa.table({"audio": [_sound(WAV, f"{number}") for number in range(3)], "text": ["one", "two", "three"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    right = struct.pack("<4i", 0, 3, 6, 11)
    assert sink.getvalue().count(right) == 1
    return sink.getvalue().replace(right, struct.pack("<4i", 0, 3, 0x7FFFFF00, 11))


def _sofa(**changes: Any) -> bytes:
    buffer = io.BytesIO()
    responses = np.random.default_rng(0).normal(0, 0.1, (3, 2, 900))
    with h5py.File(buffer, "w") as file:
        for name, value in ({"IR": responses, "SamplingRate": [8000.0], "Position": [[0.0, 0.0, 1.0]] * 3} | changes).items():
            file["SourcePosition" if name == "Position" else f"Data.{name}"] = np.array(value)
    return buffer.getvalue()


def _truncated_index(data: bytes) -> bytes:
    """With the pointer to the groups' names beyond the end of the file, an error that HDF5 raises as none of its own."""
    at = data.index(b"HEAP") + 24
    return data[:at] + struct.pack("<Q", 1 << 40) + data[at + 8 :]


_WAVE = tones(800)
WAV, FLAC, OGG = encoded(_WAVE, "WAV", "PCM_16"), encoded(_WAVE, "FLAC", "PCM_16"), encoded(_WAVE, "OGG", "VORBIS")
SHARDS = [
    Shard("parquet", "a truncated WAV in a shard", _parquet([_sound(WAV[:-100])]), "truncated"),
    Shard("parquet", "a FLAC with one bit flipped in a shard", _parquet([_sound(flipped(FLAC, len(FLAC) // 2))]), "unreadable"),
    Shard("parquet", "a FLAC in a shard whose header declares less than there is", _parquet([_sound(flipped(FLAC, 24, 6))]), "unreadable"),
    Shard("parquet", "two Vorbis streams in one cell", _parquet([_sound(OGG + encoded(tones(801), "OGG", "VORBIS"))]), "chained"),
    Shard("parquet", "numbers where the sound should be", _parquet([_sound(7)]), "unreadable"),
    Shard("parquet", "truth values where the sound should be", _parquet([_sound(True)]), "unreadable"),
    Shard("parquet", "metadata that is a truth value", _parquet([_sound(WAV)], metadata=[True]), "unreadable"),
    Shard("parquet", "metadata that is a list", _parquet([_sound(WAV)], metadata=["[1]"]), "unreadable"),
    Shard("parquet", "metadata nested 100,000 deep", _parquet([_sound(WAV)], metadata=["[" * 100_000]), "unreadable"),
    Shard("parquet", "metadata with a number of 5,000 digits", _parquet([_sound(WAV)], metadata=['{"a": ' + "9" * 5000 + "}"]), "unreadable"),
    Shard("parquet", "a shard cut off", _parquet([_sound(WAV)])[:-9], "unreadable"),
    Shard("arrow", "an Arrow stream whose texts begin beyond its end", _offsets(), "unreadable"),
    Shard("sofa", "SOFA of 0 Hz", _sofa(SamplingRate=[0.0]), "unreadable"),
    Shard("sofa", "SOFA of infinitely many Hz", _sofa(SamplingRate=[np.inf]), "unreadable"),
    Shard("sofa", "SOFA whose responses are texts", _sofa(IR=[[[b"a"]]]), "unreadable"),
    Shard("sofa", "SOFA of responses in two dimensions", _sofa(IR=[[0.1, 0.2]]), "unreadable"),
    Shard("sofa", "SOFA with more positions than responses", _sofa(Position=[[0.0, 0.0, 1.0]] * 9), "unreadable"),
    Shard("sofa", "SOFA whose names lie beyond the end of the file", _truncated_index(_sofa()), "unreadable"),
    Shard("sofa", "SOFA cut off", _sofa()[:-4000], "unreadable"),
]  # fmt: skip
