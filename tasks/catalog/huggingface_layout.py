"""Layouts `huggingface` and `parquet`: shards in the form of Hugging Face's Audio feature, `struct<bytes, path>`.

`huggingface` reads Parquet and the Arrow files of `save_to_disk` and names a clip `<file>#<column>[<row>]`; `parquet` names it `<file>#<audio.path>`,
which stays when rows move and must be unique in its shard. `metadata`, a JSON object, and every other column of text or numbers are fields of a row.
"""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import soundfile as sf

from tasks.catalog import folder_layout
from tasks.catalog.found import QUESTIONS, BadFileError, Fields, Found, Recording, Refused
from tasks.catalog.params import Entry
from tasks.catalog.questions import BadQuestionError, ask
from tasks.catalog.sound_files import decoded
from tasks.catalog.sound_headers import defect, flac_md5
from tasks.common.checksums import CheckedFile
from tasks.common.errors import UserError
from tasks.common.tables import read_schema

ROWS = 64  # in memory at a time: some 20 MB of sound
KEYS = 1 << 16  # of their names alone


def find(entry: Entry, root: Path) -> Iterator[Found | Refused]:
    """The shards whose path matches the pattern."""
    return folder_layout.find(entry, root, (".parquet",) if entry.layout == "parquet" else (".parquet", ".arrow"))


def read(entry: Entry, root: Path, found: Found) -> Iterator[Recording | Refused]:
    """Every row of a shard; of several questions about the same sound one recording, where its first row is."""
    path = root / found.path
    try:
        schema = _schema(path)
        column = _audio_column(entry, schema)
        keys = Counter(_keys(path, column)) if entry.layout == "parquet" else None
        asked = _asked(entry, path, schema, column, found) if entry.questions else None
        for number, row in _rows(path, schema, column):
            data, key = _sound(row.pop(column))
            name = f"{found.path}#{column}[{number}]" if keys is None else f"{found.path}#{key or number}"
            if keys is not None and (not key or keys[key] > 1):
                yield Refused(name, "bad_path", "audio.path is missing or not unique in the shard")
            elif not data:
                yield Refused(name, "empty", "0 bytes in the shard" + (f", only the path {key}" if key else ""))
            else:
                yield from _recording(entry, found, name, data, row, schema, asked)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BadFileError("unreadable", f"not a shard with audio: {type(error).__name__}") from None


def _recording(
    entry: Entry, found: Found, name: str, data: bytes, row: dict[str, Any], schema: pa.Schema, asked: dict[str, "_Asked"] | None
) -> Iterator[Recording | Refused]:
    sha256 = hashlib.sha256(data).hexdigest()
    questions = {}
    if asked is not None:
        own = asked[sha256]
        yield from (Refused(name, "bad_question", detail) for place, detail in own.bad if place == name)
        if own.first != name:
            return  # asked at its first row
        questions = {QUESTIONS: json.dumps(own.questions, ensure_ascii=False)}

    def read(offset: int, count: int) -> bytes:
        return data[offset : offset + count]

    broken = defect(read, len(data))
    if broken:
        yield Refused(name, *broken)
        return
    try:
        fields = {**found.fields, **_fields(row, schema), **questions}
        with sf.SoundFile(io.BytesIO(data)) as sound:
            declared, rate = sound.frames, sound.samplerate
            if declared > entry.duration_s[1] * rate:
                yield Refused(name, "too_long", f"{declared / rate:.2f} s, at most {entry.duration_s[1]} s")
                return
            md5 = flac_md5(read) if sound.subtype in ("PCM_16", "PCM_24") else b""
            hashed = hashlib.md5(usedforsecurity=False)
            samples = decoded(sound, declared, hashed.update if md5 else None)
    except (sf.LibsndfileError, ValueError, RuntimeError) as error:  # a RecursionError of JSON among them
        yield Refused(name, "unreadable", str(getattr(error, "error_string", error)))
        return
    if len(samples) < declared:
        yield Refused(name, "truncated", f"decodes to {len(samples)} of {declared} frames")
        return
    if md5 and hashed.digest() != md5:
        yield Refused(name, "unreadable", "its samples are not those that its MD5 was made of")
        return
    yield Recording(name, samples, rate, sha256, fields)


@dataclass
class _Asked:
    """What a shard asks about one sound: the row it is read from, its questions, and what is wrong with others."""

    first: str = ""
    questions: list[dict[str, Any]] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)


def _asked(entry: Entry, path: Path, schema: pa.Schema, column: str, found: Found) -> dict[str, _Asked]:
    """By the SHA-256 of the sound."""
    assert entry.questions is not None
    asked: dict[str, _Asked] = defaultdict(_Asked)
    for number, row in _rows(path, schema, column):
        data, _ = _sound(row.pop(column))
        own, name = asked[hashlib.sha256(data).hexdigest()], f"{found.path}#{column}[{number}]"
        try:
            new = ask(entry.questions, _named_labels(row, schema), {})
        except BadQuestionError as error:
            own.bad.append((name, str(error)))
            continue
        own.first = own.first or name
        own.questions += [question for question in new if question not in own.questions]
    return asked


def _sound(value: Any) -> tuple[bytes, str | None]:
    return (value or {}).get("bytes") or b"", (value or {}).get("path")


def _fields(row: dict[str, Any], schema: pa.Schema) -> Fields:
    text = row.pop("metadata", None) or "{}"
    metadata = json.loads(text) if isinstance(text, str | bytes) else None
    if not isinstance(metadata, dict):
        raise ValueError("metadata is not a JSON object")
    row.pop("sampling_rate", None)
    columns = {key: value for key, value in _named_labels(row, schema).items() if isinstance(value, str | int | float)}
    return {key: str(value) for key, value in {**columns, **metadata}.items() if value is not None}


def _named_labels(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """Class labels are numbers at rest; their names stand in the schema."""
    names = {key: feature["names"] for key, feature in _features(schema).items() if isinstance(feature, dict) and feature.get("names")}
    return {
        key: names[key][value] if key in names and isinstance(value, int) and 0 <= value < len(names[key]) else value for key, value in row.items()
    }


def _features(schema: pa.Schema) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _audio_column(entry: Entry, schema: pa.Schema) -> str:
    """The column that `audio` of the entry names, else the one that holds sound; raises KeyError where there is none."""
    columns = [one.name for one in schema if _holds_sound(one.type)]
    columns = [name for name in columns if _features(schema).get(name, {}).get("_type", "Audio") == "Audio"]
    if len(columns) > 1 and entry.audio is None:
        raise UserError(f"corpus {entry.corpus}", f"several columns hold sound: {', '.join(columns)}", "Name one in 'audio' of the catalog entry")
    if not columns or entry.audio not in (None, *columns):
        raise KeyError(entry.audio or "audio")
    return entry.audio or columns[0]


def _holds_sound(kind: pa.DataType) -> bool:
    """Whether a column's type is struct<bytes: binary, path: string>; of either there may be none in a shard."""
    if not pa.types.is_struct(kind) or not {"bytes", "path"} <= {child.name for child in kind}:
        return False
    data, path = kind.field("bytes").type, kind.field("path").type
    return (pa.types.is_binary(data) or pa.types.is_large_binary(data) or pa.types.is_null(data)) and (
        pa.types.is_string(path) or pa.types.is_large_string(path) or pa.types.is_null(path)
    )


def _schema(path: Path) -> pa.Schema:
    if path.suffix.lower() == ".parquet":
        return read_schema(path)
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).schema


def _keys(path: Path, column: str) -> Iterator[str | None]:
    with CheckedFile(path) as shard:
        for batch in shard.iter_batches(KEYS, [f"{column}.path"]):
            yield from ((row[column] or {}).get("path") for row in batch.to_pylist())


def _rows(path: Path, schema: pa.Schema, column: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and values of every row, without the sound of other columns."""
    columns = [one.name for one in schema if one.name == column or not pa.types.is_nested(one.type) or pa.types.is_list(one.type)]
    number = 0
    for batch in _batches(path, columns):
        for row in batch.to_pylist():
            yield number, row
            number += 1


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with CheckedFile(path) as shard:
            yield from shard.iter_batches(ROWS, columns)
        return
    with pa.memory_map(str(path)) as source:
        for batch in pa.ipc.open_stream(source):
            batch.validate(full=True)  # offsets are read as they are: a wrong one would take the process down
            yield from (batch.select(columns).slice(start, ROWS) for start in range(0, batch.num_rows, ROWS))
