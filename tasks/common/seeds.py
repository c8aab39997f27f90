"""Identity and randomness from content: ids are hashes of content, seeds are hashes of recipes.

No generator here is global; two processes that describe the same thing draw the same numbers.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def content_id(value: Any) -> str:
    """16 hex digits (64 bits) naming any JSON value or bytes; equal content gives an equal id everywhere."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_revision(folder: Path, patterns: Sequence[str] = ("*",)) -> str:
    """Content id of a folder's files (relative names and bytes); stands for a model's revision in cache keys."""
    files = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    return content_id([[str(path.relative_to(folder)), file_sha256(path)] for path in files])


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
