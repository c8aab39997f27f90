"""On the PYTHONPATH of a process: folders list their files in an order drawn anew at every look, as another file system might.

os.listdir and os.scandir stand below pathlib, glob, shutil and os.walk.
"""

import os
import random
from collections.abc import Iterator
from typing import Any

_listdir, _scandir = os.listdir, os.scandir
_draw = random.Random(os.getpid())  # of its own: the global generator stays as it is


class _Shuffled:
    """The entries of a folder, as os.scandir gives them."""

    def __init__(self, *where: Any) -> None:
        with _scandir(*where) as found:
            self._entries = list(found)
        _draw.shuffle(self._entries)
        self._left = iter(self._entries)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._left)

    def __enter__(self) -> "_Shuffled":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """As an iterator of os.scandir."""
        self._left = iter(())


def _names(*where: Any) -> list[Any]:
    names = _listdir(*where)
    _draw.shuffle(names)
    return names


os.listdir, os.scandir = _names, _Shuffled  # type: ignore[assignment, misc]
