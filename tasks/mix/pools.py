"""Pools of clips to draw from: ids as numbers, and further clips by consistent hashing.

Every clip stands at many places of a ring of 64-bit numbers (Karger et al. 1997); a draw takes the next clip on the ring that may be taken. So a
new clip moves only the draws that it wins, as with rendezvous hashing, but a draw costs the logarithm of the pool, not its size.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.common.seeds import scramble

Keys = NDArray[np.uint64]
PLACES = 64  # of a clip on the ring: clips are drawn equally often within 1 / sqrt(64)


def id_keys(ids: Iterable[str]) -> Keys:
    """(n,) ids of 16 hex digits as the numbers they are."""
    return np.array([int(name, 16) for name in ids], dtype=np.uint64)


def unit(keys: Keys, *parts: Any) -> NDArray[np.float64]:
    """(n,) uniform numbers in [0, 1), each decided by its key and `parts`."""
    return np.asarray((scramble(keys, *parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


class Ring:
    """Clips in groups (speakers, or each clip alone); one draw never holds two of a group."""

    def __init__(self, ids: Sequence[str], groups: Sequence[str]) -> None:
        self.ids = ids
        self.codes = {name: code for code, name in enumerate(sorted(set(groups)))}
        of_clip = np.array([self.codes[name] for name in groups], dtype=np.int64)
        keys = id_keys(ids)
        places = np.concatenate([scramble(keys, "ring", turn) for turn in range(PLACES)])
        order = np.argsort(places, kind="stable")
        self.places, self.clips = places[order], np.tile(np.arange(len(ids)), PLACES)[order]
        self.groups = of_clip[self.clips]

    def others(self, keys: Keys, own: Sequence[str], counts: Sequence[int]) -> list[list[str]]:
        """For each of the (n,) keys, `counts` clips of as many groups (fewer where there are fewer), none of them its `own` group."""
        mine = np.array([self.codes.get(name, -1) for name in own], dtype=np.int64)
        wanted = np.minimum(np.array(counts, dtype=np.int64), len(self.codes) - (mine >= 0))
        chosen = np.full((len(keys), max(0, int(wanted.max(initial=0)))), -1)
        groups = np.full_like(chosen, -2)
        for turn in range(chosen.shape[1]):
            rows = np.flatnonzero(wanted > turn)
            at = np.searchsorted(self.places, scramble(keys[rows], "draw", turn)) % len(self.places)
            while rows.size:
                group = self.groups[at]
                free = (group != mine[rows]) & (groups[rows] != group[:, None]).all(axis=1)
                chosen[rows[free], turn], groups[rows[free], turn] = self.clips[at[free]], group[free]
                rows, at = rows[~free], (at[~free] + 1) % len(self.places)
        return [[self.ids[clip] for clip in row if clip >= 0] for row in chosen.tolist()]
