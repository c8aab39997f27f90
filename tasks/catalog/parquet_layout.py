"""Layout `parquet`: shards in the form of Hugging Face's Audio feature, `audio: struct<bytes, path>` and columns beside it.

`metadata`, a JSON object, and every other column of text or numbers are fields of a row.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

from tasks.catalog.found import BadFileError, Fields, Found, Recording, Refused
from tasks.catalog.params import Entry


def read(entry: Entry, root: Path, found: Found) -> Iterator[Recording | Refused]:
    """Every row of a shard; a row's path is `<file>#<audio.path>`."""
    try:
        shard = pq.ParquetFile(root / found.path)
        names = shard.read(columns=["audio.path"]).to_pylist()
        keys = Counter((row["audio"] or {}).get("path") for row in names)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BadFileError("unreadable", f"not a Parquet shard with audio: {type(error).__name__}") from None
    number = 0
    for group in range(shard.num_row_groups):
        try:
            rows = shard.read_row_group(group).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise BadFileError("unreadable", f"row group {group}: {type(error).__name__}") from None
        for row in rows:
            yield _row(entry, found, row, number, keys)
            number += 1


def _row(entry: Entry, found: Found, row: dict[str, Any], number: int, keys: Counter[str | None]) -> Recording | Refused:
    audio = row.pop("audio") or {}
    data, key = audio.get("bytes"), audio.get("path")
    if not key or keys[key] > 1:
        return Refused(f"{found.path}#{key or number}", "bad_path", "audio.path is missing or not unique in the shard")
    path = f"{found.path}#{key}"
    if not data:
        return Refused(path, "empty", "0 bytes")
    try:
        fields = {**found.fields, **_fields(row)}
        with sf.SoundFile(io.BytesIO(data)) as sound:
            declared, rate = sound.frames, sound.samplerate
            if declared > entry.duration_s[1] * rate:
                return Refused(path, "too_long", f"{declared / rate:.2f} s, at most {entry.duration_s[1]} s")
            samples = sound.read(dtype="float32", always_2d=True)
    except (sf.LibsndfileError, ValueError, RuntimeError) as error:
        return Refused(path, "unreadable", str(getattr(error, "error_string", error)))
    if len(samples) < declared:
        return Refused(path, "truncated", f"decodes to {len(samples)} of {declared} frames")
    return Recording(path, samples, rate, hashlib.sha256(data).hexdigest(), fields)


def _fields(row: dict[str, Any]) -> Fields:
    metadata = json.loads(row.pop("metadata", None) or "{}")
    if not isinstance(metadata, dict):
        raise ValueError("metadata is not a JSON object")
    row.pop("sampling_rate", None)
    columns = {key: value for key, value in row.items() if isinstance(value, str | int | float)}
    return {key: str(value) for key, value in {**columns, **metadata}.items() if value is not None}
