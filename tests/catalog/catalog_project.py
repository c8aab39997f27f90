"""A project of its own for each test: a folder of corpora, catalog entries, parameters."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml

from tasks.catalog.stage import run
from tasks.common.cli import Counts
from tasks.common.fanout import FanOut, in_process
from tasks.common.tables import read_rows

DIGITS = {
    "corpus": "digits",
    "kind": "speech",
    "layout": "folder",
    "root": "digits",
    "pattern": r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav",
    "labels": {"digit": {"0": "zero", "1": "one", "2": "two"}},
    "unit": "word",
    "text": "digit",
    "compose": {"words": [1, 3], "utterances": {"train": 12, "validation": 6, "test": 6}},
    "split": {"field": "speaker", "test": ["cyd"], "validation": 0.25, "validation_field": "take"},
    "duration_s": [0.1, 1.0],
    "licence": "CC0-1.0",
    "source": "https://example.org",
    "citation": "none",
}
NOISE = {
    "corpus": "din",
    "kind": "noise",
    "layout": "folder",
    "root": "din",
    "pattern": r"(?:.*/)?(?P<noise_type>[a-z]+)[^/]*\.(?:wav|flac|ogg)",
    "segment_s": 1.0,
    "split": {"field": "position", "test": 0.2, "validation": 0.2},
    "duration_s": [0.2, 60.0],
    "licence": "CC0-1.0",
    "licences": {"rain": "CC-BY-4.0"},
    "source": "https://example.org",
    "citation": "none",
}


def sound(seed: int, seconds: float = 0.3, rate: int = 8000, channels: int = 1) -> np.ndarray[Any, Any]:
    """Noise at about -20 dBFS, (frames, channels)."""
    return np.random.default_rng(seed).normal(0.0, 0.1, (int(seconds * rate), channels)).astype(np.float32)


def as_wav(samples: np.ndarray[Any, Any], rate: int = 8000, subtype: str = "PCM_16") -> bytes:
    """A WAV file's bytes."""
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


class Project:
    """A checkout in small, and what the catalog made of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.corpora = root / "sounds"
        self.corpora.mkdir()
        (root / "profiles").mkdir()
        (root / "profiles/tiny.yaml").write_text("catalog: {}\n")
        self.use()

    def use(self, **catalog: Any) -> None:
        """Write the section `catalog` of the parameters."""
        section = {"speech": [], "noise": [], "rooms": [], "max_quarantine_share": 1.0} | catalog
        (self.root / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": str(self.corpora), "catalog": section}))

    def entry(self, base: dict[str, Any], **changes: Any) -> None:
        """Write a catalog entry: `base` with changes."""
        entry = base | changes
        path = self.root / "catalogs" / entry["kind"] / f"{entry['corpus']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(entry))

    def write(self, path: str, data: bytes) -> None:
        """A file below the corpora folder."""
        target = self.corpora / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def digits(self) -> None:
        """Three speakers say three digits four times."""
        for digit in range(3):
            for rank, speaker in enumerate(["ann", "bob", "cyd"]):
                for take in range(4):
                    self.write(f"digits/{digit}_{speaker}_{take}.wav", as_wav(sound(100 * digit + 10 * rank + take)))
        self.entry(DIGITS)

    def build(self, fan_out: FanOut = in_process) -> Counts:
        """Run the stage."""
        return run(fan_out=fan_out)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Rows of a table of data/catalog."""
        return read_rows(self.root / "data/catalog" / f"{table}.parquet")

    def refused(self) -> dict[str, str]:
        """Reason by path of what was refused."""
        return {row["path"]: row["reason"] for row in self.rows("quarantine")}

    def snapshot(self) -> dict[str, bytes]:
        """Every file the stage made."""
        folder = self.root / "data/catalog"
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


Listing = Callable[[bool], None]


@pytest.fixture
def listing_order(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """After the call, folders are listed by name, backwards if asked."""
    scandir = os.scandir

    def use(backwards: bool) -> None:
        @contextmanager
        def ordered(folder: Any) -> Iterator[list[Any]]:
            with scandir(folder) as found:
                yield sorted(found, key=lambda item: item.name, reverse=backwards)

        monkeypatch.setattr(os, "scandir", ordered)

    return use
