"""The stage on a small catalog: reuse, what a new noise clip rewrites, worker counts, and reading back."""

import hashlib
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.audio import RATE, active_power, rms_dbfs
from tasks.common.errors import UserError
from tasks.common.fanout import in_process, in_workers
from tasks.common.seeds import content_id, file_sha256
from tasks.common.tables import read_rows, write_parquet
from tasks.mix.manifest import MANIFEST, printed, report
from tasks.mix.read import mixture_rows, mixture_waves, waves_of
from tasks.mix.shards import MIXTURES, branches
from tasks.mix.stage import run
from tasks.rooms.measure import DIRECT
from tasks.rooms.stage import SCHEMA as ROOM_SCHEMA

ROOT = Path(__file__).parents[2]
PARAMS = """
profile: tiny
corpora: data/corpora
mix:
  snr_db: [-5, 5]
  per_noise: {train: 5, validation: 2, test: 3}
  noise_reverb_share: 0.5
  speech_reverb_share: 0.5
  level_dbfs: [-32.0, -20.0]
  corruptions: catalogs/curricula/plain.yaml
  peak: 0.99
  device: cpu
  shard_mixtures: 40
"""


def clip(kind: str, number: int, seconds: float, licence: str = "CC0-1.0") -> dict[str, Any]:
    """A recording on disk and its row of the catalog."""
    name = content_id([kind, number])
    wave = np.random.default_rng(number).normal(0, 0.05, int(seconds * RATE)).astype(np.float32)
    path = Path(f"data/corpora/{kind}/{name}.wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wave, RATE, subtype="PCM_16")
    split = ("train", "validation", "test")[number % 3]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    row = {"clip_id": name, "path": f"{kind}/{name}.wav", "sha256": digest, "sampling_rate": RATE, "split": split, "metadata": "{}"}
    return {
        **row,
        "kind": "utterance",
        "noise_type": f"type{number % 2}",
        "corpus": kind,
        "duration_s": seconds,
        "channels": 1,
        "licence": licence,
        "speaker": f"speaker{number % 6}",
        "text": "",
    }


def write_catalog(noise: list[int], licence: str = "CC-BY-4.0") -> None:
    for kind, numbers, seconds, terms in (("speech", range(100, 112), 0.5, "CC0-1.0"), ("noise", noise, 1.0, licence)):
        write_parquet(Path(f"data/catalog/{kind}.parquet"), pa.Table.from_pylist([clip(kind, number, seconds, terms) for number in numbers]))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with 12 utterances, 9 noise clips and a room a split."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    for folder in ("profiles", "catalogs/curricula"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    write_catalog(list(range(9)))
    rir = np.zeros(DIRECT + 2000, np.float32)
    rir[DIRECT], rir[DIRECT + 900] = 1.0, 0.3
    rooms = [
        {"room_id": content_id(["room", split]), "split": split, "rir": rir, "licence": "CC0-1.0", "metadata": "{}"}
        for split in ("train", "validation", "test")
    ]
    write_parquet(Path("data/rooms/all.parquet"), rooms, ROOM_SCHEMA)
    return tmp_path


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in MIXTURES.iterdir()}


def test_mix_stage_reuses_and_rewrites_only_what_changed(project: Path) -> None:
    counts = run(in_process)
    before = files()
    total = len(mixture_rows())
    assert counts.done == {"mixtures": total, "shards": len(before), "removed": 0} and counts.reused == {"mixtures": 0, "shards": 0}
    noisy = [row for row in mixture_rows() if row["noise_ids"]]
    assert len(noisy) == 3 * (5 + 2 + 3)
    assert all(abs(row["snr_db_measured"] - row["snr_db"]) < 0.1 for row in noisy)

    again = run(in_process)
    assert again.done == {"mixtures": 0, "shards": 0, "removed": 0} and again.reused == {"mixtures": total, "shards": len(before)}
    assert files() == before

    write_catalog(list(range(10)))  # one more noise clip of the training split
    grown = run(in_process)
    assert grown.done == {"mixtures": 5, "shards": 1, "removed": 0} and grown.reused["mixtures"] == total
    after = files()
    assert len(mixture_rows()) == total + 5
    assert len(after.keys() - before.keys()) == 1 and len(before.keys() - after.keys()) == 1
    assert next(iter(after.keys() - before.keys())).startswith("train-noise-")

    write_catalog(list(range(9)))
    assert run(in_process).done == {"mixtures": 0, "shards": 1, "removed": 5}
    assert files() == before, "a shard made of kept rows has the bytes of one made afresh"


def test_mix_a_branch_that_grows_too_large_is_parted_and_nothing_rendered_again(project: Path) -> None:
    text = Path("params.yaml").read_text().replace("shard_mixtures: 40", "shard_mixtures: 16")
    Path("params.yaml").write_text(text)
    run(in_process)
    before, total = files(), len(mixture_rows())
    assert [name.rpartition("-")[0] for name in before if name.startswith("train-noise-")] == ["train-noise-b"]
    write_catalog(list(range(10)))  # 20 mixtures of training noise
    grown = run(in_process)
    assert grown.done["mixtures"] == 5 and grown.reused["mixtures"] == total
    assert len([name for name in files() if name.startswith("train-noise-b")]) > 1
    write_catalog(list(range(9)))
    assert run(in_process).done == {"mixtures": 0, "shards": 1, "removed": 5}
    assert files() == before


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 30))
def test_mix_branches_cover_every_owner_once(counts: dict[int, int], most: int) -> None:
    owners = sorted(counts)
    ends = np.cumsum([counts[owner] for owner in owners]).tolist()
    made = list(branches(owners, ends, most))
    assert [start for _, start, _ in made] == [0, *(end for _, _, end in made[:-1])] and made[-1][2] == ends[-1]
    for name, start, end in made:
        inside = [owner for owner, last in zip(owners, ends, strict=True) if start < last <= end]
        assert all(f"{owner:064b}".startswith(name[1:]) for owner in inside)
        assert end - start <= most or len(inside) == 1
    names = [name for name, _, _ in made]
    assert not any(a != b and a.startswith(b) for a in names for b in names), "no branch lies inside another"


def test_mix_workers_change_no_byte(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(in_process)
    alone = files()
    shutil.rmtree(MIXTURES)
    monkeypatch.setenv("WORKERS", "2")
    run(in_workers)
    assert files() == alone


def test_mix_a_killed_writer_leaves_nothing_behind(project: Path) -> None:
    run(in_process)
    before = files()
    victim = sorted(before)[0]
    (MIXTURES / victim).unlink()
    (MIXTURES / f".{victim}.1.tmp").write_bytes(b"half a file")
    run(in_process)
    assert files() == before


def test_mix_reading(project: Path) -> None:
    run(in_process)
    rows = mixture_rows(["mixture_id", "clip_id", "corruption", "audio"])
    everything = mixture_waves(rows)
    some = [row["mixture_id"] for row in rows[::5]]
    waves = waves_of(some)
    assert waves.keys() == set(some)
    for name in some:
        assert waves[name].tobytes() == everything[name].tobytes()
        assert waves[name].dtype == np.float32 and len(waves[name]) == RATE // 2 and active_power(waves[name]) > 0
    with pytest.raises(KeyError, match="1 of 1"):
        waves_of(["0" * 16])
    clean = next(row for row in rows if row["corruption"] == "clean")
    source = sf.read(f"data/corpora/speech/{clean['clip_id']}.wav", dtype="float32")[0]
    assert everything[clean["mixture_id"]].tobytes() == source.tobytes(), "a clean row is the clip as catalogued"
    assert {row["split"] for row in mixture_rows(filters=[("split", "=", "test")])} == {"test"}


def test_mix_a_silent_noise_is_left_out_and_said(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    silent = content_id(["noise", 0])
    sf.write(f"data/corpora/noise/{silent}.wav", np.zeros(RATE, np.float32), RATE, subtype="PCM_16")
    rows = [
        row | ({"sha256": file_sha256(Path(f"data/corpora/noise/{silent}.wav"))} if row["clip_id"] == silent else {})
        for row in read_rows(Path("data/catalog/noise.parquet"))
    ]
    write_parquet(Path("data/catalog/noise.parquet"), pa.Table.from_pylist(rows))
    run(in_process)
    assert not any(silent in row["noise_ids"] for row in mixture_rows())
    assert f"noise/{silent}.wav is left out: the noise is silent" in caplog.text


def use_the_palette() -> None:
    """Every noise clip twice as often, and the whole of din.yaml."""
    text = (
        Path("params.yaml")
        .read_text()
        .replace("plain.yaml", "din.yaml")
        .replace("{train: 5, validation: 2, test: 3}", "{train: 40, validation: 20, test: 30}")
    )
    Path("params.yaml").write_text(text)
    Path("catalogs/curricula/din.yaml").write_text(text_of_din().replace("share: 0.05,", "share: 0.06,").replace("share: 0.2,", "share: 0.6,"))


def text_of_din() -> str:
    return (ROOT / "catalogs/curricula/din.yaml").read_text()


def test_mix_the_whole_palette_is_rendered(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    use_the_palette()
    run(in_process)
    rows = mixture_rows()
    seen = {step for row in rows for step in row["corruption"].split("+")}
    assert seen >= {"clean", "reverb", "noise", "noises", "partial", "snr_walk", "mp3", "opus", "packet_loss", "telephone", "babble", "competing"}
    waves = waves_of([row["mixture_id"] for row in rows])
    assert "left out" not in caplog.text and len(waves) == len(rows)
    for row in rows:
        wave = waves[row["mixture_id"]]
        assert len(wave) == RATE // 2 and np.isfinite(wave).all() and np.abs(wave).max() <= 0.99 + 1e-4
        assert (row["snr_db"] is None) == (row["snr_db_measured"] is None)
        assert row["snr_db"] is None or abs(row["snr_db"] - row["snr_db_measured"]) < 0.1
        assert rms_dbfs(wave) == pytest.approx(row["level_dbfs"], abs=0.1)
    before = files()
    shutil.rmtree(MIXTURES)
    run(in_process)
    assert files() == before


def test_mix_the_manifest_lists_every_mixture_and_what_it_owes(project: Path) -> None:
    run(in_process)
    listed = {row["mixture_id"]: row for row in read_rows(MANIFEST)}
    held = {row["mixture_id"]: row for path in MIXTURES.glob("*.parquet") for row in read_rows(path, None)}
    assert listed.keys() == held.keys()
    for name, row in listed.items():
        assert all(held[name][column] == value for column, value in row.items() if column in held[name])
        assert name in set(pq.read_table(MIXTURES / row["shard"], columns=["mixture_id"])["mixture_id"].to_pylist())
        assert row["licences"] == (["CC-BY-4.0", "CC0-1.0"] if row["noise_ids"] else ["CC0-1.0"])
        assert row["corpora"] == (["noise", "speech"] if row["noise_ids"] else ["speech"])
    audio, manifest = files(), MANIFEST.read_bytes()

    write_catalog(list(range(9)), licence="CC-BY-SA-4.0")
    assert run(in_process).done == {"mixtures": 0, "shards": 0, "removed": 0}
    assert files() == audio and MANIFEST.read_bytes() != manifest
    assert {licence for row in read_rows(MANIFEST) for licence in row["licences"]} == {"CC-BY-SA-4.0", "CC0-1.0"}


def test_mix_the_report_counts_what_the_manifest_holds(project: Path) -> None:
    with pytest.raises(UserError, match=r"no such file.*python -m tasks\.mix"):
        report()
    run(in_process)
    rows, tables = mixture_rows(), report()
    assert {(row["split"], row["kind"]): row["mixtures"] for row in tables["split"]} == Counter((row["split"], row["kind"]) for row in rows)
    assert {row["corruption"]: row["mixtures"] for row in tables["corruption"]} == Counter(row["corruption"] for row in rows)
    by_snr = {row["snr_db"]: row for row in tables["SNR"]}
    errors = [abs(row["snr_db_measured"] - 5.0) for row in rows if row["snr_db"] == 5.0]
    assert by_snr[5.0]["mixtures"] == len(errors) and by_snr[5.0]["largest_error_db"] == pytest.approx(max(errors))
    assert "type0" in printed(tables)


def test_mix_shards_are_as_large_as_their_audio(project: Path) -> None:
    text = Path("params.yaml").read_text().replace("{train: 5, validation: 2, test: 3}", "{train: 60, validation: 60, test: 60}")
    Path("params.yaml").write_text(text)
    run(in_process)
    payload = sum(len(row["audio"]["bytes"]) for row in mixture_rows(["mixture_id", "audio"]))
    assert sum(path.stat().st_size for path in MIXTURES.iterdir()) < 1.05 * payload


def test_mix_kept_rows_are_not_rendered_or_encoded_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(in_process)
    write_catalog(list(range(8)))

    def refuse(*_: Any) -> None:
        raise AssertionError("rendered")

    monkeypatch.setattr("tasks.mix.finish.encode_flac", refuse)
    assert run(in_process).done["mixtures"] == 0


def test_mix_a_shard_travels_alone(project: Path) -> None:
    """A job holds its own rows, not the plan it was cut from."""
    text = Path("params.yaml").read_text().replace("shard_mixtures: 40", "shard_mixtures: 1")
    Path("params.yaml").write_text(text)
    sizes: list[int] = []

    def weigh(work: Any, jobs: Any, label: str) -> list[Any]:
        sizes.extend(len(pickle.dumps(job)) for job in jobs)
        assert all(pickle.loads(pickle.dumps(job)).plan.equals(job.plan) for job in jobs)
        return in_process(work, jobs, label)

    run(weigh)
    assert len(sizes) > 12 and max(sizes) < 20_000


def test_mix_a_gpu_that_is_not_there_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("device: cpu", "device: cuda"))
    with pytest.raises(UserError, match=r"mix\.device: 'cuda' is asked for and torch finds no GPU"):
        run(in_process)
