"""The shipped catalog entries on the recordings they describe."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.catalog.audio import load_clips
from tasks.catalog.checks import CHOICES
from tasks.catalog.params import CATALOGS, read_entry
from tasks.catalog.stage import run
from tasks.common.fanout import in_process
from tasks.common.tables import read_rows

SHIPPED = Path(__file__).resolve().parents[2] / "catalogs"


def test_every_shipped_entry_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parent)
    kinds = ("speech", "noise", "rooms")  # catalogs/questions also holds wordings
    corpora = {read_entry(kind, path.stem).corpus for kind in kinds for path in (CATALOGS / kind).glob("*.yaml")}
    assert corpora >= {"words", "noise", "digits", "librispeech", "openair"}


@pytest.mark.recorded
def test_recordings_are_all_catalogued(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SHIPPED, "catalogs")
    Path("profiles").mkdir()
    Path("profiles/recorded.yaml").write_text("catalog: {}\n")
    section = {"speech": ["librispeech"], "noise": ["household"], "rooms": ["openair", "surrey-brir"]}
    Path("params.yaml").write_text(yaml.safe_dump({"profile": "recorded", "corpora": str(recordings), "catalog": section}))
    run(fan_out=in_process)
    tables = {kind: read_rows(Path(f"data/catalog/{kind}.parquet")) for kind in ("speech", "noise", "rooms")}
    quarantine = read_rows(Path("data/catalog/quarantine.parquet"))
    assert not {row["reason"] for row in quarantine} - CHOICES  # no real recording is taken for a damaged one
    refused = {row["path"] for row in quarantine}
    used = {row["path"].partition("#")[0].partition("@")[0] for rows in tables.values() for row in rows}
    folders = ["speech/sentences", "noise/household", "rooms/openair", "rooms/brir"]
    files = [path for folder in folders for path in (recordings / folder).rglob("*") if path.suffix in (".wav", ".sofa")]
    assert {path.relative_to(recordings).as_posix() for path in files} == used | refused
    speakers = Counter(row["speaker"] for row in {(row["speaker"], row["split"]): row for row in tables["speech"]}.values())
    assert max(speakers.values()) == 1
    for row, wave in ((row, load_clips([row])[row["clip_id"]]) for row in tables["rooms"][:3]):
        assert len(wave) == pytest.approx(row["duration_s"] * 16000, abs=2) and np.isfinite(wave).all()
