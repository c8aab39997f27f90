"""The stage in a project of its own: a bank that is built once, and measured responses from WAV and SOFA."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile as sf
import yaml

from tasks.catalog.found import clip_id_of
from tasks.common.fanout import in_process
from tasks.common.params import read_yaml
from tasks.common.seeds import content_id, file_sha256
from tasks.common.tables import read_rows, write_parquet
from tasks.rooms.measure import DIRECT, direct_index
from tasks.rooms.stage import ROOMS, SCHEMA, run

ROOT = Path(__file__).resolve().parents[2]
RATE = 48_000


def response(rt60_s: float, delay: int, level: float, seed: int) -> np.ndarray[Any, Any]:
    """A pulse and a decay under it at 48 kHz."""
    decay = np.random.default_rng(seed).normal(0, 0.03, RATE // 2) * 10 ** (-3 * np.arange(RATE // 2) / RATE / rt60_s)
    rir = np.concatenate([np.zeros(delay), [1.0], decay, np.zeros(300 - delay)])
    return (0.5 * level * rir).astype(np.float32)


class Project:
    """Corpora, a catalog of measured responses and parameters in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[dict[str, Any]] = []
        (folder / "profiles").mkdir()
        (folder / "corpora").mkdir()
        self.params()

    def params(self, **changed: Any) -> None:
        rooms = read_yaml(ROOT / "params.yaml")["rooms"] | {"simulated": {"train": 3, "validation": 1, "test": 1}, "rt60_s": [0.15, 0.2]} | changed
        (self.folder / "params.yaml").write_text(yaml.safe_dump({"profile": "unit", "corpora": str(self.folder / "corpora"), "rooms": rooms}))
        (self.folder / "profiles/unit.yaml").write_text("rooms: {}\n")

    def add(self, path: str, clip_id: str, sha256: str, channels: int, split: str = "train") -> None:
        self.clips.append(
            {
                "clip_id": clip_id,
                "path": path,
                "sha256": sha256,
                "sampling_rate": RATE,
                "channels": channels,
                "split": split,
                "licence": "CC-BY-4.0",
            }
        )

    def wav(self, name: str, channels: list[np.ndarray[Any, Any]]) -> None:
        sf.write(self.folder / "corpora" / name, np.stack(channels, axis=1), RATE, subtype="FLOAT")
        self.add(name, content_id(name), file_sha256(self.folder / "corpora" / name), len(channels))

    def run(self) -> tuple[int, int]:
        if self.clips:
            write_parquet(self.folder / "data/catalog/rooms.parquet", self.clips)
        counts = run(in_process)
        return counts.done["rooms"], counts.reused["rooms"]

    def rows(self, **where: Any) -> list[dict[str, Any]]:
        rows = read_rows(ROOMS) if any(ROOMS.glob("*.parquet")) else []
        return [row for row in rows if all(row[key] == value for key, value in where.items())]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.wav("mono.wav", [response(0.3, 100, 1.0, 0)])
    return made


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ROOMS.glob("*.parquet")}


def test_rooms_a_bank_is_built_once(project: Project) -> None:
    assert project.run() == (6, 0)
    first = files()
    assert set(first) == {"train-simulated.parquet", "validation-simulated.parquet", "test-simulated.parquet", "train-measured.parquet"}
    assert project.run() == (0, 6) and files() == first
    project.params(simulated={"train": 5, "validation": 1, "test": 0})
    assert project.run() == (2, 5)
    more = files()
    assert "test-simulated.parquet" not in more and more["validation-simulated.parquet"] == first["validation-simulated.parquet"]
    project.params()
    assert project.run() == (1, 5) and files() == first, "back to the earlier counts, the earlier bytes"


def test_rooms_a_change_of_recipe_makes_them_anew(project: Project) -> None:
    project.run()
    project.params(high_pass_hz=80)
    assert project.run() == (5, 1)


def test_rooms_files_of_another_form_are_replaced(project: Project) -> None:
    project.run()
    rows = [{key: value for key, value in row.items() if key != "drr_db"} for row in project.rows(split="train")]
    write_parquet(ROOMS / "train-simulated.parquet", rows, SCHEMA.remove(SCHEMA.get_field_index("drr_db")))
    assert project.run() == (3, 3), "the rooms of that file alone"


def test_rooms_pairs_of_a_place(project: Project) -> None:
    project.params(simulated={"train": 1, "validation": 0, "test": 0}, sources=2, microphones={"count": 2, "pattern": "omni", "spacing_m": 0.1})
    assert project.run() == (5, 0)
    rows = project.rows(source="simulated")
    assert len({row["place_id"] for row in rows}) == 1 and len({row["room_id"] for row in rows}) == 4
    assert sorted((row["source_index"], row["microphone_index"]) for row in rows) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(np.isfinite([row["rt60_s"], row["c50_db"], row["drr_db"]]).all() for row in rows)
    assert project.run() == (0, 5)


def test_rooms_what_the_catalog_says_of_a_clip_is_taken_over_without_measuring(project: Project) -> None:
    project.run()
    project.clips[0] |= {"licence": "CC0-1.0", "split": "test", "path": "renamed.wav"}
    assert project.run() == (0, 6)
    (row,) = project.rows(source="measured")
    assert (row["licence"], row["split"], json.loads(row["metadata"])["path"]) == ("CC0-1.0", "test", "renamed.wav")


def test_rooms_channels_of_a_wav_are_taken_apart(project: Project) -> None:
    project.wav("stereo.wav", [response(0.3, 100, 1.0, 1), response(0.3, 124, 0.5, 1)])
    assert project.run() == (8, 0)
    pair = [row for row in project.rows(source="measured") if json.loads(row["metadata"])["path"] == "stereo.wav"]
    left, right = sorted(pair, key=lambda row: row["microphone_index"])
    assert [left["microphone_index"], right["microphone_index"]] == [0, 1] and left["place_id"] == right["place_id"]
    assert [direct_index(np.array(row["rir"])) for row in (left, right)] == [DIRECT, DIRECT + 8], "24 samples at 48 kHz later"
    assert np.max(np.abs(right["rir"])) == pytest.approx(0.5 * np.max(np.abs(left["rir"])), rel=0.02)
    assert left["rt60_s"] == pytest.approx(0.3, rel=0.1) and left["licence"] == "CC-BY-4.0"
    assert project.run() == (0, 8)


def test_rooms_receivers_of_a_sofa_measurement_are_kept_in_step(project: Project) -> None:
    cells = [[response(0.3, 100 + 24 * receiver, 1.0 - 0.5 * receiver, 2 * azimuth + receiver) for receiver in range(2)] for azimuth in range(2)]
    with h5py.File(project.folder / "corpora/ears.sofa", "w") as sofa:
        sofa["Data.IR"] = np.array(cells)
    for azimuth in range(2):
        for receiver in range(2):
            project.add(f"ears.sofa#{azimuth}/{receiver}", clip_id_of(cells[azimuth][receiver], RATE), "ears", 1)
    assert project.run() == (10, 0)
    rows = {(row["source_index"], row["microphone_index"]): np.array(row["rir"]) for row in project.rows(place_id=content_id(["measured", "ears"]))}
    assert set(rows) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    for azimuth in range(2):
        near, far = rows[azimuth, 0], rows[azimuth, 1]
        assert (direct_index(near), direct_index(far)) == (DIRECT, DIRECT + 8)
        assert np.sum(near[: 2 * DIRECT] ** 2) == pytest.approx(1.0, rel=1e-4)


def test_rooms_silence_is_left_out_and_named(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.wav("silent.wav", [np.zeros(RATE, np.float32)])
    assert project.run() == (6, 0)
    assert "silent.wav is left out" in caplog.text
