"""Seeds from content, tables written whole, audio at rest, fan-out that keeps the order."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common import audio, seeds, tables
from tasks.common.errors import UserError
from tasks.common.fanout import in_process, in_workers


@given(st.sets(st.text(min_size=1), min_size=2, max_size=8), st.text(min_size=1), st.integers())
def test_adding_a_value_moves_only_the_picks_it_wins(values: set[str], extra: str, key: int) -> None:
    before = seeds.choose(sorted(values), "test", key)
    after = seeds.choose([extra, *sorted(values, reverse=True)], "test", key)
    assert after in {before, extra}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_seed_comes_from_content_alone(value: object) -> None:
    assert seeds.seed_of("x", value) == seeds.seed_of("x", value) < 2**63
    assert seeds.seed_of("x", value) != seeds.seed_of("y", value)


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    schema = pa.schema([("a", pa.int64())])
    monkeypatch.setattr(tables, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tables.write_parquet(path, [{"a": 1}], schema)
    assert not path.exists()
    monkeypatch.undo()
    tables.write_parquet(path, [], schema)
    assert tables.read_rows(path) == []
    assert tables.prune(tmp_path, {"table.parquet"}) == 0
    assert [left.name for left in tmp_path.iterdir()] == ["table.parquet"], "leftovers of killed writers are pruned"


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"a": number, "audio": {"bytes": bytes([number]), "path": "x"}} for number in range(5)]
    schema = pa.schema([("a", pa.int64()), ("audio", tables.AUDIO)])
    for name in ("one", "two"):
        tables.write_parquet(tmp_path / name, rows, schema)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@settings(deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=2000))
def test_flac_keeps_every_16_bit_sample(samples: list[int]) -> None:
    wave = (np.array(samples) / 32768.0).astype(np.float32)
    decoded, rate = audio.decode(audio.encode_flac(wave))
    assert rate == audio.RATE
    assert np.array_equal(np.round(decoded * 32768.0), np.array(samples))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([8000, 22050, 24000, 44100, 48000]), st.floats(100, 3000))
def test_resampling_keeps_a_tone(rate: int, hertz: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    wave = audio.resample(tone, rate)
    expected = np.sin(2 * np.pi * hertz * np.arange(audio.RATE) / audio.RATE)
    assert abs(len(wave) - audio.RATE) <= 1
    middle = slice(1000, 15000)
    assert np.max(np.abs(wave[middle] - expected[middle])) < 0.01


@given(st.integers(1, 9), st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=25)
def test_pauses_do_not_count_as_speech(pause: int, level: float) -> None:
    speech = np.full(audio.RATE, level, dtype=np.float32)
    padded = np.concatenate([speech, np.zeros(audio.RATE * pause, dtype=np.float32)])
    assert audio.active_power(padded) == pytest.approx(audio.active_power(speech)) == pytest.approx(level**2, rel=1e-5)
    assert audio.active_power(np.zeros(8000, dtype=np.float32)) == 0.0


def _square(value: int) -> int:
    if value < 0:
        raise UserError("value", f"{value} is negative", "Use 0 or more")
    return value * value


def test_workers_keep_the_order_of_the_jobs_and_carry_errors_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    assert in_workers(_square, list(range(20)), "squares") == in_process(_square, list(range(20)), "squares")
    with pytest.raises(UserError, match="-1 is negative"):
        in_workers(_square, [1, -1, 2], "squares")
    error = UserError("a", "b", "c")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a: b. c"
