"""Spoilt input of every kind: only a refusal or a UserError of one line comes of it, in bounded time and memory.

`make soak` takes FUZZ_SECONDS (600) for all readers together, from FUZZ_SEED (0) on; `make test` the same few inputs a reader each time.
"""

import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tasks.common.errors import UserError
from tests.promises.bad_readers import READERS, Reader

SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
FIRST = int(os.environ.get("FUZZ_SEED", "0"))  # other inputs in another run
FEW, MANY = 8, 50  # inputs a reader in the cut, and a round of the long run
ROOM, SLOWEST_S = 4 << 30, 30.0  # bytes beyond what the process holds; seconds an input, on a busy machine


@pytest.fixture
def bounded() -> Iterator[None]:
    """Memory beyond some gigabytes is refused, so that what asks for it fails here."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(reader: Reader, folder: Path, count: int, number: int | None) -> Counter[str]:
    """Read `count` spoilt inputs, the same ones each time where no seed is given; returns how many were taken and how many named as mistakes."""
    counts: Counter[str] = Counter()

    @settings(max_examples=count, deadline=None, database=None, derandomize=number is None, suppress_health_check=list(HealthCheck))
    @given(reader.inputs)
    def one(data: object) -> None:
        start = time.perf_counter()
        try:
            reader.read(folder, data)
            counts["read"] += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 5000
            counts["named"] += 1
        assert time.perf_counter() - start < SLOWEST_S

    (one if number is None else seed(number)(one))()
    return counts


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@pytest.mark.timeout(120)
def test_spoilt_input_is_named(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded: None) -> None:
    monkeypatch.chdir(tmp_path)
    counts = fuzz(reader, tmp_path, FEW, None)
    assert counts.total() >= FEW // 2


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
def test_spoilt_input_is_named_for_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded: None) -> None:
    monkeypatch.chdir(tmp_path)
    counts: dict[str, Counter[str]] = {reader.name: Counter() for reader in READERS}
    failures: list[str] = []
    start, number = time.monotonic(), FIRST
    while time.monotonic() - start < SECONDS:
        number += 1
        for reader in READERS:
            if time.monotonic() - start < SECONDS:
                try:
                    counts[reader.name] += fuzz(reader, tmp_path, MANY, number)
                except Exception:
                    failures.append(f"{reader.name}, seed {number}: {traceback.format_exc()[-1500:]}")
                    counts[reader.name]["failed"] += 1
    for name, count in counts.items():
        print(f"{name}: {count['read']} read, {count['named']} named as a mistake, {count['failed']} rounds failed")
    total = sum(count.total() for count in counts.values())
    print(f"{total} inputs in {time.monotonic() - start:.0f} s, {number - FIRST} rounds, seeds from {FIRST + 1}")
    assert not failures, "\n".join(failures[:20])
