"""Memory of a process that renders: arrays kept by content, and freed memory kept from the kernel."""

import ctypes
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


class Kept:
    """Arrays by content key, the least recently used given up beyond `limit` bytes. What a key gives does not depend on what is kept."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of `key`, made where it is not kept. `key` must decide every value of it."""
        if key in self.arrays:
            self.arrays.move_to_end(key)
            return self.arrays[key]
        made = self.arrays[key] = make()
        self.used += made.nbytes
        while self.used > self.limit and len(self.arrays) > 1:
            self.used -= self.arrays.popitem(last=False)[1].nbytes
        return made


def keep_freed_memory(limit: int = 64 << 20) -> None:
    """Let malloc keep up to `limit` freed bytes of arrays below 32 MiB, where the C library is glibc; no result depends on it.

    By default glibc returns arrays of a megabyte to the kernel as soon as they are freed and gets them back a page fault at a time,
    which costs as much as the arithmetic on them (docs/speed.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, limit)
