"""One bit of a file turned over, and what a reader makes of it."""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.checksums import ChangedError
from tasks.common.seeds import rng_of
from tasks.common.sha256sums import SUMS, check_sums
from tasks.common.tables import read_parquet

LINE = re.compile(r"(.+): its content is not what was written \(checksum\)\. Have it made again: rm (.+) && make curriculum")


def flip(path: Path, bit: int) -> None:
    """Turn over one bit of a file, as a rotting disk does: size, times and inode stay, so that neither DVC nor the catalog's index looks again."""
    before = path.stat()
    with path.open("r+b", buffering=0) as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextlib.contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Within the block one bit of the file is another."""
    flip(path, bit)
    try:
        yield
    finally:
        flip(path, bit)


def bit_of(path: Path, column: str | None, *seed: Any) -> int:
    """A bit of a file, anywhere in it or among those of a column."""
    start, end = 0, path.stat().st_size
    if column is not None:
        found = pq.read_metadata(path).row_group(0)
        chunks = [found.column(number) for number in range(found.num_columns)]
        chunk = max((one for one in chunks if one.path_in_schema.split(".")[0] == column), key=lambda one: one.total_compressed_size)
        start = chunk.data_page_offset
        end = start + chunk.total_compressed_size - (start - (chunk.dictionary_page_offset or start))
    return int(rng_of("flip", path.name, *seed).integers(8 * start, 8 * end))


def outcome(path: Path, bit: int, read: Callable[[], Any], right: Any) -> str:
    """`found` where reading the file with that bit flipped names it, `harmless` where it still reads as `right`."""
    with flipped(path, bit):
        try:
            now = read()
        except ChangedError as error:
            assert error.where == str(path) or Path(error.where).name == SUMS or path.name == SUMS
            return "found"
    assert now.equals(right, check_metadata=True) if isinstance(right, pa.Table) else now == right, f"{path}: bit {bit} goes unnoticed"
    return "harmless"


def anywhere(folder: Path, flips: int) -> Counter[tuple[str, str]]:
    """Outcomes by kind of file, of flips of random bits in the tables and models of a build, each kind in turn."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("data/**/*.parquet")) + sorted(folder.glob("reports/*.parquet")):
        kinds.setdefault(path.name if path.parent.name in ("data", "reports") else path.parent.name, []).append(path)
    for path in sorted(path for sums in folder.glob(f"models/*/{SUMS}") for path in sums.parent.iterdir()):
        kinds.setdefault(path.name if path.suffix != ".safetensors" else f"models/{path.parent.name}", []).append(path)
    counted: Counter[tuple[str, str]] = Counter()
    for number in range(flips):
        kind = sorted(kinds)[number % len(kinds)]
        path = kinds[kind][number // len(kinds) % len(kinds[kind])]
        read = (lambda path=path: read_parquet(path)) if path.suffix == ".parquet" else (lambda path=path: check_sums(path.parent))
        counted[kind, outcome(path, bit_of(path, None, number), read, read())] += 1
    print("".join(f"\n{kind}: {count} {told}" for (kind, told), count in sorted(counted.items())))
    return counted


def found_share(counted: Counter[tuple[str, str]]) -> float:
    """Of the flips, how many were found; the others were harmless."""
    return sum(count for (_, told), count in counted.items() if told == "found") / counted.total()
