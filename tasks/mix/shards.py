"""Shards of mixtures: named by what is in them, so one that is right is found by its name, and written a row group at a time.

The owners of a split and kind lie in a binary tree by the leading bits of their ids; a shard is a branch of at most so many mixtures, so a build
of any size has shards of one size, and a new clip touches the branch it falls into. A shard that changes keeps the encoded rows of the earlier
shards of its branch, as Arrow; only new mixtures are rendered.
"""

import hashlib
import os
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.common.checksums import CheckedFile
from tasks.common.tables import parquet_writer, read_parquet
from tasks.mix.finish import SCHEMA, Finisher

MIXTURES = Path("data/mixtures")
GROUP = 64  # mixtures in memory at a time, and in a row group
TEXT = ["owner", "kind", "noise_type", "corruption", "split"]  # few values, many times
PLAIN = [name for name in SCHEMA.names if name != "audio"]


@dataclass(frozen=True)
class Shard:
    """A file of mixtures: its prefix, `<split>-<kind>-<branch>`, and which rows of a plan it holds, in their order in the file."""

    prefix: str
    whole: pa.Table = field(repr=False)
    places: NDArray[np.int64] = field(repr=False)
    device: str

    @property
    def plan(self) -> pa.Table:
        """Its rows of the plan: a copy, so that a plan of any size is held once."""
        return self.rows(self.whole.column_names)

    def rows(self, names: list[str]) -> pa.Table:
        """Some columns of its rows."""
        # `take` joins the chunks of a table first; those of a shard's rows alone are few.
        low = int(self.places.min())
        return self.whole.select(names).slice(low, int(self.places.max()) - low + 1).take(pa.array(self.places - low))

    @cached_property
    def path(self) -> Path:
        """`<prefix>-<hash>.parquet`; the hash is that of the recipes inside."""
        digest = hashlib.sha256("".join(sorted(self.rows(["recipe_hash"])["recipe_hash"].to_pylist())).encode()).hexdigest()[:16]
        return MIXTURES / f"{self.prefix}-{digest}.parquet"

    def earlier(self) -> list[Path]:
        """Files of the same branch, or of one above or below it: they may hold finished rows of this one."""
        group, _, branch = self.prefix.rpartition("-")
        named = ((path, path.name.removeprefix(f"{group}-").partition("-")[0]) for path in MIXTURES.glob(f"{group}-*.parquet"))
        return sorted(path for path, other in named if branch.startswith(other) or other.startswith(branch))

    def __reduce__(self) -> tuple[object, tuple[str, bytes, str]]:
        # The whole plan would go along; an Arrow stream holds the rows alone.
        plan, sink = self.plan, pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, plan.schema) as stream:
            stream.write_table(plan)
        return _shard, (self.prefix, sink.getvalue().to_pybytes(), self.device)


def _shard(prefix: str, plan: bytes, device: str) -> Shard:
    rows = pa.ipc.open_stream(plan).read_all()
    return Shard(prefix, rows, np.arange(len(rows)), device)


def branches(owners: Sequence[int], ends: Sequence[int], most: int) -> Iterator[tuple[str, int, int]]:
    """(branch, first row, end) of every shard, in order.

    Args:
        owners: ascending 64-bit ids.
        ends: of the rows of each owner; those of the first start at 0.
        most: rows of a branch with more than one owner.
    """

    def grow(branch: str, low: int, high: int) -> Iterator[tuple[str, int, int]]:
        start = ends[low - 1] if low else 0
        if high - low <= 1 or ends[high - 1] - start <= most:
            if high > low:
                yield branch, start, ends[high - 1]
            return
        # Of 64 bits, those of the branch are common to all; the next one parts them.
        middle = bisect_left(owners, int((branch[1:] + "1").ljust(64, "0"), 2), low, high)
        yield from grow(branch + "0", low, middle)
        yield from grow(branch + "1", middle, high)

    return grow("b", 0, len(owners))


def shards_of(plan: pa.Table, most: int, device: str) -> list[Shard]:
    """The plan in shards of at most `most` mixtures, more only where they have one owner; the rows of an owner are together."""
    if not len(plan):
        return []
    order = pc.sort_indices(plan, [(name, "ascending") for name in ("split", "kind", "owner", "mixture_id")]).to_numpy().astype(np.int64)
    codes = {name: plan[name].dictionary_encode().combine_chunks() for name in ("split", "kind", "owner")}
    runs = np.stack([codes[name].indices.to_numpy()[order] for name in codes])
    # Ends of the runs of rows that share split and kind, and of those that share the owner too.
    owned = np.append(np.flatnonzero((np.diff(runs) != 0).any(axis=0)), len(plan) - 1)
    grouped = np.append(np.flatnonzero((np.diff(runs[:2, owned]) != 0).any(axis=0)), len(owned) - 1)
    shards, first, start = [], 0, 0
    for last in grouped.tolist():
        ends = owned[first : last + 1] + 1
        split, kind = (codes[name].dictionary[int(codes[name].indices[order[start]].as_py())].as_py() for name in ("split", "kind"))
        owners = [int(owner, 16) for owner in codes["owner"].dictionary.take(pa.array(runs[2, ends - 1])).to_pylist()]
        for branch, low, high in branches(owners, (ends - start).tolist(), most):
            shards.append(Shard(f"{split}-{kind}-{branch}", plan, order[start + low : start + high], device))
        first, start = last + 1, int(ends[-1])
    return shards


class Earlier:
    """Rows of the earlier shards of a branch, found by recipe hash and read a row group at a time."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self.place: dict[str, tuple[Path, int, int]] = {}
        self.held: tuple[tuple[Path, int] | None, pa.Table | None] = (None, None)
        for path in shards:
            with CheckedFile(path) as file:
                if not file.schema_arrow.equals(SCHEMA):
                    continue  # written by an earlier version
                for group in range(file.num_row_groups):
                    for row, name in enumerate(file.read_row_group(group, ["recipe_hash"])["recipe_hash"].to_pylist()):
                        self.place[name] = (path, group, row)

    def rows(self, names: list[str]) -> list[pa.Table]:
        """Finished rows of recipes that are in `place`."""
        wanted: dict[tuple[Path, int], list[int]] = {}
        for name in names:
            path, group, row = self.place[name]
            wanted.setdefault((path, group), []).append(row)
        return [self._group(path, group).take(rows) for (path, group), rows in wanted.items()]

    def _group(self, path: Path, group: int) -> pa.Table:
        if self.held[0] != (path, group):
            with CheckedFile(path) as file:
                self.held = ((path, group), file.read_row_group(group, use_threads=False))
        assert self.held[1] is not None
        return self.held[1]


@contextmanager
def writer(path: Path) -> Iterator[Any]:
    """A shard under its temporary name, published when it is complete. FLAC does not compress, so only the other columns are."""
    compression = {**dict.fromkeys(PLAIN, "zstd"), "audio.bytes": "none", "audio.path": "zstd"}
    for name in ("noise_ids", "voice_ids"):
        compression[f"{name}.list.element"] = compression.pop(name)
    with parquet_writer(path, SCHEMA, compression=compression, use_dictionary=TEXT, write_statistics=["mixture_id", "snr_db"]) as file:
        yield file


@contextmanager
def one_thread() -> Iterator[None]:
    """Workers are processes, so the libraries below them keep to one thread each; as it was, afterwards."""
    before, cores, readers = os.environ.get("OMP_NUM_THREADS"), pa.cpu_count(), pa.io_thread_count()
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)  # every thread has a heap of its own
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, which resampling imports late
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        pa.set_cpu_count(cores)
        pa.set_io_thread_count(readers)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        if torch:
            torch.set_num_threads(threads)


def write_shard(shard: Shard) -> int:
    """Render what is new, keep what is known, publish the file. Returns how many mixtures were rendered."""
    earlier, plan = Earlier(shard.earlier()), shard.plan
    names = plan["recipe_hash"].to_pylist()
    new = np.array([name not in earlier.place for name in names], dtype=bool)
    made = 0
    with one_thread(), writer(shard.path) as file:
        finisher = Finisher(plan.filter(pa.array(new)), shard.device)
        for start in range(0, len(names), GROUP):
            here = slice(start, start + GROUP)
            known = [name for name, fresh in zip(names[here], new[here], strict=True) if not fresh]
            fresh = finisher.rows(plan[here].filter(pa.array(new[here]))) if new[here].any() else SCHEMA.empty_table()
            rows = pa.concat_tables([*earlier.rows(known), fresh]).combine_chunks()
            place = {name: at for at, name in enumerate(rows["recipe_hash"].to_pylist())}
            order = pa.array([place[name] for name in names[here] if name in place], pa.int64())  # one that is silent has no row
            file.write_table(rows.take(order), row_group_size=GROUP)
            made += len(fresh)
    return made


def removed(old: Sequence[Path], plan: pa.Table) -> int:
    """Mixtures of some files that the plan has no more."""
    if not old:
        return 0
    held = pc.unique(pa.concat_tables([read_parquet(path, ["recipe_hash"]) for path in old])["recipe_hash"])
    return len(held) - int(pc.sum(pc.is_in(held, plan["recipe_hash"].combine_chunks())).as_py() or 0)
