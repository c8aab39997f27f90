"""The words the layouts and the scan share: a file that was found, a recording in it, and a reason to refuse one."""

import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.common.seeds import content_id

Samples = NDArray[np.float32]
Fields = dict[str, str]


@dataclass(frozen=True)
class Refused:
    """A recording that is not used: its path below the entry's root, a stable reason code, and what was seen."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Cut:
    """A stretch of a file that a manifest names, in seconds (`end_s` None: to the end), with the fields of its row."""

    start_s: float
    end_s: float | None
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A file that belongs to the corpus, before it is opened, and what its name or manifest row says of it.

    `size`, `mtime_ns` and `inode` come from one stat of the file itself, links followed. No `cuts`: the whole file.
    """

    path: str
    size: int
    mtime_ns: int = 0
    inode: int = 0
    fields: Fields = field(default_factory=dict)
    cuts: tuple[Cut, ...] = ()
    sha256: str = ""  # of its bytes; the scan fills it in


@dataclass(frozen=True)
class Recording:
    """Decoded sound (frames, channels) at its own rate; `place` is (index, count) within its file, for a split by position."""

    path: str
    samples: Samples
    rate: int
    sha256: str
    fields: Fields
    place: tuple[int, int] = (0, 1)


def writable(text: str) -> str:
    """Text without the halves of characters that JSON can escape but no table holds."""
    return text.encode("utf-8", "replace").decode()


class BadFileError(Exception):
    """A file that cannot be used as a whole."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def clip_id_of(samples: Samples, rate: int) -> str:
    """Content id of decoded samples, (frames,) or (frames, channels) float32, and their rate; no name enters it."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return content_id(np.ascontiguousarray(samples, dtype="<f4").tobytes() + f"{rate}/{channels}".encode())


QUESTIONS = "questions as JSON"  # a field's name that no column has


def metadata_of(fields: Fields) -> str:
    """The `metadata` column of a clip: its fields as a JSON object, and its questions as the list `questions` in it."""
    rest = {key: value for key, value in fields.items() if key != QUESTIONS}
    questions = {"questions": json.loads(fields[QUESTIONS])} if QUESTIONS in fields else {}
    return json.dumps({**rest, **questions}, sort_keys=True, ensure_ascii=False)
