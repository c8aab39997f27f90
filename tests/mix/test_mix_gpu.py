"""The batched renderer on torch's CPU device against the one that every mixture is defined by."""

from typing import Any

import numpy as np
import pytest

from tasks.common.audio import RATE
from tasks.mix.gpu import mixed
from tasks.mix.render import Mixed, Renderer
from tasks.rooms.measure import DIRECT


def speech(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Bursts and pauses, so that active speech is a part of it."""
    gate = np.repeat(rng.random(frames // 800 + 1) > 0.4, 800)[:frames]
    gate[: min(frames, 800)] = True
    return (gate * rng.normal(0, 0.05, frames)).astype(np.float32)


def response(rng: np.random.Generator, frames: int) -> np.ndarray:
    rir = np.zeros(DIRECT + frames, np.float32)
    rir[DIRECT:] = rng.normal(0, 0.05, frames) * np.exp(-np.arange(frames) / 1500)
    rir[DIRECT] = 1.0
    return rir


def batch(seed: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    responses = {"small": response(rng, 3000), "large": response(rng, 9000)}
    rows: list[dict[str, Any]] = []
    for row in range(24):
        frames = int(rng.integers(100, 2 * RATE)) if row else 200  # shorter than one frame of the gate
        parts: dict[str, Any] = {"speech": speech(rng, frames), "room_id": [None, "small", "large"][row % 3]}
        if row % 4:
            parts |= {"noise": rng.normal(0, 0.1, int(rng.integers(3000, 3 * RATE))).astype(np.float32), "offset": float(rng.random())}
            parts["snr_db"] = float(rng.uniform(-20, 30))
        if row % 5 == 1 and row % 4:
            parts["envelope"] = (np.arange(frames) > frames // 3).astype(np.float32)
        if row % 6:
            parts |= {"level_dbfs": float(rng.uniform(-32, -10)), "peak": 0.99}
        if row % 7 == 3:
            parts["effects"] = lambda wave: np.tanh(wave)
        rows.append(parts)
    return rows, responses


@pytest.mark.parametrize("seed", range(3))
def test_mix_a_batch_on_torch_agrees_with_the_renderer(seed: int) -> None:
    rows, responses = batch(seed)
    renderer = Renderer(responses.__getitem__)
    for parts, made in zip(rows, mixed(rows, responses, "cpu"), strict=True):
        expected = renderer.mix(**parts)
        assert isinstance(made, Mixed)
        np.testing.assert_allclose(made.wave, expected.wave, atol=1e-4)
        assert (made.snr_db is None) == (expected.snr_db is None)
        assert made.snr_db is None or (
            made.snr_db == pytest.approx(parts["snr_db"], abs=0.1) and made.snr_db == pytest.approx(expected.snr_db, abs=0.1)
        )
        assert made.level_dbfs == pytest.approx(expected.level_dbfs, abs=0.01)


def test_mix_a_batch_says_which_part_is_silent() -> None:
    rows, responses = batch(0)
    rows[1]["noise"] = np.zeros(4000, np.float32)
    rows[2]["speech"] = np.zeros(4000, np.float32)
    made = mixed(rows, responses, "cpu")
    assert str(made[1]) == "the noise is silent" and str(made[2]) == "the speech is silent"
    assert all(isinstance(one, Mixed) for one in made[3:])


def test_mix_a_clean_row_of_a_batch_is_left_alone() -> None:
    rows, responses = batch(1)
    (made,) = mixed([{"speech": rows[5]["speech"], "room_id": None}], responses, "cpu")
    assert isinstance(made, Mixed) and made.wave.tobytes() == rows[5]["speech"].tobytes()
