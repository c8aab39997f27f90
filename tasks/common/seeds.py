"""Identity and randomness from content: ids are hashes of content, seeds are hashes of recipes.

No generator here is global; two processes that describe the same thing draw the same numbers.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def content_id(value: Any) -> str:
    """16 hex digits (64 bits) naming any JSON value or bytes; equal content gives an equal id everywhere."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hashes(folder: Path, patterns: Sequence[str] = ("*",)) -> dict[str, str]:
    """Hex SHA-256 of a folder's files by their relative names, in order."""
    files = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def folder_revision(folder: Path, patterns: Sequence[str] = ("*",)) -> str:
    """Content id of a folder's files (relative names and bytes); stands for a model's revision in cache keys."""
    return content_id([[*pair] for pair in folder_hashes(folder, patterns).items()])


def seed_of(*parts: Any) -> int:
    """A 63-bit seed from the description of what it is for, e.g. `seed_of("mix", clip_id, noise_id)`."""
    return int(content_id(list(parts)), 16) >> 1


def rng_of(*parts: Any) -> np.random.Generator:
    """A numpy generator seeded by `seed_of(*parts)`."""
    return np.random.default_rng(seed_of(*parts))


def choose(values: Sequence[T], *parts: Any) -> T:
    """One of `values` by rendezvous hashing: adding or removing a value moves only the picks that touch it.

    Values must be JSON-serialisable. The order of `values` does not matter.
    """
    return max(values, key=lambda value: content_id([value, *parts]))


def choose_many(values: Sequence[T], count: int, *parts: Any) -> list[T]:
    """The `count` values (all, if fewer) that rank highest by rendezvous hashing; stable under additions."""
    return sorted(values, key=lambda value: content_id([value, *parts]), reverse=True)[:count]


def keys_of(values: Sequence[str]) -> NDArray[np.uint64]:
    """(n,) 64-bit keys of strings, for `scramble` and `top`."""
    return np.array([int(content_id(value), 16) for value in values], dtype=np.uint64)


def scramble(keys: NDArray[np.uint64], *parts: Any) -> NDArray[np.uint64]:
    """(n,) fresh uniform 64-bit numbers, each decided by its key and `parts` alone."""
    return finalise(keys ^ np.uint64(seed_of(*parts)))


def finalise(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014): 64-bit numbers of any shape, each bit hanging on every bit of its key."""
    mixed = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def top(keys: NDArray[np.uint64], count: int, *parts: Any) -> NDArray[np.int64]:
    """Indices of the `count` keys (all, if fewer) that rank highest: `choose_many` for pools of any size."""
    scores = scramble(keys, *parts)
    count = min(max(count, 0), len(scores))
    best = np.argpartition(scores, len(scores) - count)[len(scores) - count :] if 0 < count < len(scores) else np.arange(count)
    ranked: NDArray[np.int64] = best[np.argsort(scores[best], kind="stable")[::-1]].astype(np.int64)
    return ranked
