"""The teacher's next-token distributions on disk: the k likeliest tokens and a tail bucket instead of the whole vocabulary.

CAAD's stage 2 needs two of them along every Pseudo-GT, with the audio (z+) and without (z-). Top-k alone says that everything else is impossible,
which biases what is learnt from it (RS-KD, arXiv 2503.16870); the tail bucket keeps the mass that was left out. A token takes 4 k bytes of ids,
2 k of log-probabilities and 2 of tail: 122 at k = 20, where 152,000 half-precision logits take 304,000.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tasks.common.seeds import content_id
from tasks.common.tables import read_rows, write_parquet
from tasks.common.versions import made_by
from tasks.engines import EngineError, Generator, Request, TopK
from tasks.references.parts import chunks

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("item_id", pa.string()),
        ("path", pa.string()),
        ("k", pa.int32()),
        ("ids", pa.binary()),
        ("logprobs", pa.binary()),
        ("tail", pa.binary()),
    ]
)
_STORED = {"ids": "<u4", "logprobs": "<f2", "tail": "<f2"}


@dataclass(frozen=True)
class Forced:
    """A response the teacher is forced along, on one path: with the clean clip, with silence in its place, or without audio."""

    item_id: str
    clip_id: str
    path: str
    request: Request
    token_ids: Sequence[int]

    def key(self, revision: str, k: int) -> str:
        """Names the distributions by all they depend on; `clip_id` stands for the samples."""
        code = made_by("tasks.pseudo_gt.cache", "tasks.engines")
        return content_id([self.clip_id, self.path, self.request.prompt, list(self.token_ids), revision, k, code])


def fill(folder: Path, load: Callable[[], Generator], forced: Sequence[Forced], revision: str, k: int) -> int:
    """Add to the cache what it lacks of `forced`, a Parquet shard a chunk; returns how many distributions were computed.

    Args:
        folder: the cache; its shards hold `key`, `item_id`, `path`, `k` and the bytes of `ids` (T, k), `logprobs` (T, k), `tail` (T,).
        load: gives an engine with the teacher; not called where nothing is missing.
        forced: responses and paths, T tokens each.
        revision: of the teacher.
        k: tokens kept at each place (all, where the vocabulary has fewer).
    """
    there = {row["key"] for row in _rows(folder, ["key"])}
    missing = [one for one in forced if one.key(revision, k) not in there]
    if not missing:
        return 0
    generator = load()
    for chunk in chunks(missing):
        try:
            found = dict(enumerate(generator.top_logprobs([one.request for one in chunk], [one.token_ids for one in chunk], k)))
        except EngineError as error:
            _write(folder, chunk, error.finished, revision, k)
            raise
        _write(folder, chunk, found, revision, k)
    return len(missing)


def read_cache(folder: Path) -> dict[str, dict[str, Any]]:
    """Every row of the cache by key, still packed, because unpacked it takes twice the memory."""
    return {row["key"]: row for row in _rows(folder, None)}


def pack(top: TopK) -> dict[str, bytes]:
    """The columns that hold a TopK: ids as uint32, log-probabilities and tail as float16, little-endian."""
    return {name: np.ascontiguousarray(getattr(top, name), dtype).tobytes() for name, dtype in _STORED.items()}


def unpack(row: Mapping[str, Any]) -> TopK:
    """The TopK of a row."""
    ids, logprobs, tail = (np.frombuffer(row[name], dtype) for name, dtype in _STORED.items())
    shape = (len(tail), len(ids) // max(len(tail), 1))
    return TopK(ids.reshape(shape).astype(np.int64), logprobs.reshape(shape).astype(np.float32), tail.astype(np.float32))


def spread(top: TopK, vocabulary: int) -> Tensor:
    """Log-probabilities (T, vocabulary), float32, with the tail shared equally by the tokens outside the top k; each place sums to 1."""
    others = vocabulary - top.ids.shape[1]
    # Rounding to half precision leaves a sum a few thousandths off 1.
    each = torch.from_numpy(top.tail)[:, None] - (float(np.log(others)) if others else 0.0)
    full = each.expand(len(top.tail), vocabulary).clone()
    full.scatter_(1, torch.from_numpy(top.ids), torch.from_numpy(top.logprobs))
    return full.log_softmax(-1)


def top_k(logprobs: Tensor, k: int) -> TopK:
    """The TopK of whole distributions: log-probabilities (T, V)."""
    values, ids = logprobs.topk(min(k, logprobs.shape[1]), dim=-1)
    tail = logprobs.scatter(1, ids, -torch.inf).logsumexp(-1)
    return TopK(ids.numpy(), values.float().numpy(), tail.float().numpy())


def kl_of_cache(full_logits: Tensor, k: int) -> Tensor:
    """KL(teacher || cached teacher) in nats at each of T places, (T,) float64: what storing k tokens and a tail costs. Logits (T, V)."""
    exact = full_logits.double().log_softmax(-1)
    cached = spread(unpack(pack(top_k(exact, k))), full_logits.shape[1]).double()
    return (exact.exp() * (exact - cached)).nan_to_num(0.0).sum(-1)


def _rows(folder: Path, columns: list[str] | None) -> list[dict[str, Any]]:
    return read_rows(folder, columns) if any(folder.glob("*.parquet")) else []


def _write(folder: Path, forced: Sequence[Forced], found: Mapping[int, TopK], revision: str, k: int) -> None:
    """One shard, named by its content; `found` is by place in `forced`."""
    rows = [
        {"key": forced[i].key(revision, k), "item_id": forced[i].item_id, "path": forced[i].path, "k": k, **pack(top)} for i, top in found.items()
    ]
    if rows:
        write_parquet(folder / f"{content_id(sorted(row['key'] for row in rows))}.parquet", rows, SCHEMA)
