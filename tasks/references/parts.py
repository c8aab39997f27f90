"""Responses put on disk as they come, so that a killed run or a failing server costs only what was in flight.

A part is a Parquet file of keys and completions in a folder that DVC does not know. A run reads the parts an earlier one
left, and removes them once its outputs are whole.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from tasks.common.fanout import FanOut, in_process
from tasks.common.seeds import content_id
from tasks.common.tables import read_rows, write_parquet
from tasks.engines import Completion, EngineError, Generator, Request

# Enough requests to keep an engine's batches full, few enough that losing them costs seconds.
CHUNK = 256
_SCHEMA = pa.schema([("key", pa.string()), ("completions", pa.string())])
T = TypeVar("T")


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """`values` in runs of CHUNK, in their order."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def ask(generator: Generator, requests: Mapping[str, Request], parts: Path, **decoding: Any) -> dict[str, list[Completion]]:
    """Completions by key, on disk before they are returned. `decoding` are the keywords of `Generator.generate`.

    Where the engine fails on some requests, the responses to the others are on disk before its error goes on.
    """
    if not requests:
        return {}
    keys = list(requests)
    try:
        found = dict(zip(keys, generator.generate(list(requests.values()), **decoding), strict=True))
    except EngineError as error:
        if error.finished:
            commit(parts, {keys[number]: made for number, made in error.finished.items()})
        raise
    commit(parts, found)
    return found


def commit(parts: Path, found: Mapping[str, Sequence[Completion]]) -> None:
    """Write one part; its name is its content, so that workers do not meet."""
    rows = [{"key": key, "completions": json.dumps([asdict(completion) for completion in made])} for key, made in found.items()]
    write_parquet(parts / f"{content_id(sorted(found))}.parquet", rows, _SCHEMA)


def read_parts(parts: Path) -> dict[str, list[Completion]]:
    """Completions by key that earlier runs left behind."""
    rows = read_rows(parts) if any(parts.glob("*.parquet")) else []
    return {row["key"]: [Completion(**made) for made in json.loads(row["completions"])] for row in rows}


def driver(engine: str, fan_out: FanOut) -> FanOut:
    """Who runs the shards: workers with a model each, or this process alone where the engine itself is what runs in parallel."""
    return fan_out if engine == "transformers" else in_process
