"""Audio quality: each measure on known cases and against its library, the sample, the shards and what is kept of an earlier file."""

import importlib
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from evaluate_world import build, write_params

from tasks.common.audio import RATE, Wave
from tasks.common.fanout import in_process
from tasks.common.params import load
from tasks.common.tables import read_rows
from tasks.common.versions import libraries_of
from tasks.evaluate import quality
from tasks.evaluate.params import EvaluateParams
from tasks.evaluate.quality import MEASURES, QUALITY, dnsmos, measured, pesq, sample, si_sdr_db, stoi, write_quality
from tasks.mix.read import mixture_rows
from tasks.synthesis.espeak import say

SNRS = (-10, 0, 10, 20, 30)


@pytest.fixture(scope="module")
def spoken() -> Wave:
    return say("she had your dark suit in greasy wash water all year", "gmw/en-US")


def noisy(wave: Wave, snr_db: float) -> Wave:
    noise = np.random.default_rng(1).normal(0, 1, len(wave)).astype(np.float32)
    return wave + noise * np.float32(wave.std() * 10 ** (-snr_db / 20))


def test_identical_signals_have_the_best_score(spoken: Wave) -> None:
    assert pesq(spoken, spoken) == pytest.approx(4.644, abs=0.001)  # the ceiling of P.862.2
    assert stoi(spoken, spoken) == pytest.approx(1.0, abs=1e-6)
    assert stoi(spoken, spoken, extended=True) == pytest.approx(1.0, abs=1e-6)
    assert si_sdr_db(spoken, spoken) > 60


def test_every_measure_rises_with_the_snr(spoken: Wave) -> None:
    rows = [measured(spoken, noisy(spoken, snr)) for snr in SNRS]
    for name in MEASURES:
        if name.startswith("dnsmos"):  # at 0 dB and below it lies on its floor
            assert rows[-1][name] > rows[1][name] + 0.5
        else:
            assert all(low[name] < high[name] for low, high in pairwise(rows)), name
    assert all(row["reason"] is None for row in rows)


def test_si_sdr_is_the_snr_of_orthogonal_noise_and_ignores_scale(spoken: Wave) -> None:
    reference = spoken - spoken.mean()
    noise = np.random.default_rng(0).normal(0, 1, len(spoken))
    noise -= noise.mean()
    noise -= reference * (noise @ reference) / (reference @ reference)
    noise *= np.sqrt((reference @ reference) / (noise @ noise) * 10 ** (-7 / 10))
    assert si_sdr_db(spoken, (reference + noise).astype(np.float32)) == pytest.approx(7.0, abs=1e-3)
    assert si_sdr_db(spoken, (3 * (reference + noise) + 0.01).astype(np.float32)) == pytest.approx(7.0, abs=1e-3)


def test_dnsmos_is_that_of_the_package(spoken: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package wants librosa for the spectrogram of a second score; both are left out."""
    monkeypatch.setitem(sys.modules, "librosa", ModuleType("librosa"))
    monkeypatch.delitem(sys.modules, "speechmos.dnsmos", raising=False)
    library = importlib.import_module("speechmos.dnsmos")
    monkeypatch.setattr(library.DNSMOS, "audio_melspec", lambda self, audio: np.zeros((900, 120), np.float32))
    longer = np.clip(np.concatenate([np.resize(spoken, 5 * RATE), np.resize(noisy(spoken, 0.0), 6 * RATE + 200)]), -1, 1)
    for wave in (longer, longer[: 10 * RATE - 1]):
        found = library.run(wave, RATE)
        assert dnsmos(wave) == pytest.approx((found["sig_mos"], found["bak_mos"], found["ovrl_mos"]), abs=1e-4)
    assert dnsmos(spoken) == dnsmos(np.resize(spoken, quality.WINDOW))


@pytest.mark.parametrize(
    ("frames", "silent", "reasons"),
    [
        (RATE // 3, False, {"stoi:too_short", "estoi:too_short"}),
        (RATE // 8, False, {"pesq:too_short", "stoi:too_short", "estoi:too_short"}),
        (1, False, {f"{name}:silent" for name in MEASURES}),
        (RATE, True, {"pesq:silent", "stoi:silent", "estoi:silent", "si_sdr_db:silent"}),
    ],
)
def test_a_measure_without_a_value_is_null_with_a_reason(
    spoken: Wave, frames: int, silent: bool, reasons: set[str], recwarn: pytest.WarningsRecorder
) -> None:
    reference = np.resize(spoken, frames)
    row = measured(np.zeros_like(reference) if silent else reference, noisy(reference, 10.0))
    assert not recwarn.list
    assert set(row["reason"].split(",")) == reasons
    assert {name for name in MEASURES if row[name] is None} == {reason.partition(":")[0] for reason in reasons}


def test_pesq_has_no_value_without_an_utterance_or_beyond_what_the_library_survives(spoken: Wave) -> None:
    hum = np.sin(np.arange(RATE) * 2 * np.pi * 20 / RATE).astype(np.float32)  # below what it listens to
    assert pesq(hum, hum) == "no_utterance"
    longest = np.resize(spoken, int(quality.LONGEST_PESQ_S * RATE) + 1)
    assert pesq(longest, longest) == "too_long"


def mixtures(levels: tuple[float, ...] = (0.0, 10.0), each: int = 5) -> list[dict[str, Any]]:
    """Rows of two noise types, and one without noise."""
    rows = [
        {"mixture_id": f"{noise}{level}{place}", "noise_type": noise, "snr_db": level}
        for noise in ("rain", "hum")
        for level in levels
        for place in range(each)
    ]
    return [*rows, {"mixture_id": "clean", "noise_type": None, "snr_db": None}]


def test_the_sample_takes_so_many_of_every_cell_whatever_the_order() -> None:
    rows = mixtures()
    chosen = sample(rows, 2)
    assert [(row["noise_type"], row["snr_db"]) for row in chosen] == [(noise, level) for noise in ("hum", "rain") for level in (0.0, 0.0, 10.0, 10.0)]
    assert sample(rows[::-1], 2) == chosen
    assert len(sample(rows, 9)) == 20 and sample(rows, 0) == []
    # A mixture that is not chosen may go: the rest stays.
    gone = next(row for row in rows if row["snr_db"] is not None and row not in chosen)
    assert sample([row for row in rows if row is not gone], 2) == chosen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_params(root)
        build()
    return root


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of every wave that DNSMOS, replaced here because it takes a fifth of a second, was asked about."""
    waves: list[int] = []

    def score(wave: Wave) -> tuple[float, float, float]:
        waves.append(len(wave))
        return 1.0, 2.0, 3.0

    monkeypatch.setattr(quality, "dnsmos", score)
    return waves


def backwards(work: Callable[[Any], Any], jobs: Sequence[Any], label: str) -> list[Any]:
    return [work(pickle.loads(pickle.dumps(job))) for job in reversed(jobs)][::-1]


def measure_world(world: Path, fan_out: Any = in_process, **evaluate: Any) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    write_params(world, **{"quality_per_cell": 3, "front_ends": {"base": ["seen", "wavelet"]}, **evaluate})
    return write_quality(load("evaluate", EvaluateParams), fan_out), read_rows(QUALITY)


def test_every_cell_is_measured_as_it_is_and_behind_each_denoiser(world: Path, monkeypatch: pytest.MonkeyPatch, scored: list[int]) -> None:
    monkeypatch.chdir(world)
    counts, rows = measure_world(world)
    cells = {(row["noise_type"], row["snr_db"]): 0 for row in rows}
    for row in rows:
        cells[row["noise_type"], row["snr_db"]] += 1
    noisy_rows = [row for row in mixture_rows(filters=[("split", "=", "test")]) if row["snr_db"] is not None]
    assert cells.keys() == {(row["noise_type"], row["snr_db"]) for row in noisy_rows}
    assert [row["front_end"] for row in rows] == ["none", "wavelet"] * (len(rows) // 2)
    assert counts == (len(rows), 0) and len(scored) == len(rows)

    # The speech of this world is steady, so what is added at an SNR is what SI-SDR finds against the speech in its room.
    rooms = {row["mixture_id"]: row["room_id"] for row in noisy_rows}
    plain = [row for row in rows if row["front_end"] == "none"]
    assert {rooms[row["mixture_id"]] is None for row in plain} == {True, False}
    for row in plain:
        assert row["si_sdr_db"] == pytest.approx(row["snr_db"], abs=0.5)


def test_rows_are_kept_and_do_not_hang_on_shards(world: Path, monkeypatch: pytest.MonkeyPatch, scored: list[int]) -> None:
    monkeypatch.chdir(world)
    QUALITY.unlink(missing_ok=True)
    (made, _), rows = measure_world(world)
    whole = QUALITY.read_bytes()
    assert measure_world(world)[0] == (0, made) and QUALITY.read_bytes() == whole and len(scored) == made

    QUALITY.unlink()
    monkeypatch.setattr(quality, "SHARD", 1)
    measure_world(world, backwards)
    assert QUALITY.read_bytes() == whole

    # A front end more is measured alone, one less leaves with its rows, and damaged or older files are measured anew.
    assert measure_world(world, front_ends={"base": ["wavelet", "spectral_gating"]})[0] == (made // 2, made)
    assert measure_world(world, front_ends={})[1] == [row for row in rows if row["front_end"] == "none"]
    monkeypatch.setattr(quality, "made_by", lambda *code: "another")
    assert measure_world(world)[0] == (made, 0)


def test_an_effect_counts_as_damage_and_a_room_does_not(world: Path, monkeypatch: pytest.MonkeyPatch, scored: list[int]) -> None:
    """The reference is made of the recipe's speech and room, whatever else the recipe holds."""
    monkeypatch.chdir(world)
    (mixture,) = sample(mixture_rows(filters=[("split", "=", "test"), ("noise_type", "=", "rain"), ("snr_db", "=", 5.0)]), 1)
    clips = read_rows(Path("data/catalog/speech.parquet"), filters=[("clip_id", "=", mixture["clip_id"])])
    plain = quality.measure(quality.Job(((mixture, ("none",)),), tuple(clips)))
    recipe = {**json.loads(mixture["recipe"]), "effects": [{"name": "clipping", "db": 20.0}], "level_dbfs": -40.0}
    assert quality.measure(quality.Job((({**mixture, "recipe": json.dumps(recipe)}, ("none",)),), tuple(clips))) == plain


def test_nothing_asked_for_is_an_empty_table(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    assert measure_world(world, quality_per_cell=0) == ((0, 0), [])


def test_without_the_package_pesq_is_null_with_a_reason_and_measured_once_it_is_there(spoken: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pesq" in libraries_of("tasks.evaluate.quality"), "its version, or that there is none, is in the key"
    monkeypatch.setattr(quality, "find_spec", lambda name: None)
    assert pesq(spoken, spoken) == "not_installed"
