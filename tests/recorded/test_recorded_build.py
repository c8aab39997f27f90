"""A small cut of profile `recorded`: the whole DAG on real speech, noise and rooms, where the recordings are present."""

from pathlib import Path

import duckdb
import pytest
import yaml

from tasks.common.params import merge
from tests.dag.conftest import NANO, Project, copy_project

pytestmark = [pytest.mark.recorded, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = copy_project(tmp_path_factory.mktemp("recorded"))
    profile = folder / "profiles/recorded.yaml"
    cut = merge(yaml.safe_load(profile.read_text()), {name: value for name, value in NANO.items() if name != "synthesis"})
    cut = merge(
        cut, {"mix": {"per_noise": {"train": 1, "validation": 1, "test": 1}}, "rooms": {"simulated": {"train": 1, "validation": 1, "test": 1}}}
    )
    profile.write_text(yaml.safe_dump(cut))
    digits = folder / "catalogs/speech/digits.yaml"
    entry = yaml.safe_load(digits.read_text())
    entry["compose"]["utterances"] = {"train": 40, "validation": 16, "test": 24}
    digits.write_text(yaml.safe_dump(entry))
    project = Project(folder, server=False)
    project.run("python", "-m", "tasks.common.params", "--profile", "recorded", "--corpora", str(recordings))
    project.run("dvc", "repro", "-q")
    return project


def test_every_recording_is_a_row_or_a_quarantine_row(project: Project, recordings: Path) -> None:
    data = project.folder / "data/catalog"
    digits = len(list((recordings / "speech/digits").glob("*.wav")))
    rows = duckdb.sql(f"select count(*) from '{data}/speech.parquet' where corpus = 'digits' and kind = 'word'").fetchall()[0][0]
    refused = duckdb.sql(f"select count(*) from '{data}/quarantine.parquet' where corpus = 'digits' and reason <> ''").fetchall()[0][0]
    assert rows > 0.99 * digits
    assert rows + refused == digits


def test_one_speaker_is_held_out(project: Project) -> None:
    speech = f"'{project.folder}/data/catalog/speech.parquet'"
    held = duckdb.sql(f"select distinct speaker from {speech} where corpus = 'digits' and split = 'test'").fetchall()
    assert len(held) == 1
    crossing = duckdb.sql(f"select speaker from {speech} group by speaker having count(distinct split) > 1 and max(split = 'test')").fetchall()
    assert crossing == []


def test_real_rooms_and_real_noise_are_in_the_mixtures(project: Project) -> None:
    mixtures, rooms = f"'{project.folder}/data/mixtures/*.parquet'", f"'{project.folder}/data/rooms/*.parquet'"
    types = {row[0] for row in duckdb.sql(f"select distinct noise_type from {mixtures} where snr_db is not null").fetchall()}
    assert {"rain", "coffee-shop", "train", "running_tap"} <= types
    sources = duckdb.sql(f"select source, count(*), min(rt60_s), max(rt60_s) from {rooms} group by source").fetchall()
    assert {"simulated", "measured"} == {row[0] for row in sources}
    worst = duckdb.sql(f"select max(abs(snr_db - snr_db_measured)) from {mixtures} where snr_db is not null").fetchall()[0][0]
    assert worst < 0.1


def test_sentences_are_mixed_and_what_the_small_model_cannot_hear_is_excluded_with_a_reason(project: Project) -> None:
    data = project.folder / "data"
    sentences = f"(select clip_id, duration_s from '{data}/catalog/speech.parquet' where corpus = 'librispeech')"
    mixed = duckdb.sql(f"select count(*) from '{data}/mixtures/*.parquet' join {sentences} using (clip_id)").fetchall()[0][0]
    assert mixed > 0
    excluded = f"'{data}/references_excluded.parquet' join '{data}/items.parquet' using (item_id)"
    long = duckdb.sql(f"select distinct reason from {excluded} join {sentences} using (clip_id)").fetchall()
    assert ("longer_than_window",) in long


def test_the_report_and_the_metrics_are_there(project: Project) -> None:
    assert "acc_noisy" in project.run("dvc", "metrics", "show").stdout
    assert "Data and pipelines are up to date" in project.run("dvc", "status").stdout
    assert (project.folder / "reports/index.html").stat().st_size > 100_000
