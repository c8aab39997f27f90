"""RT60 and C50 against decays whose values are known, and simulated rooms against what was asked of them."""

import json

import numpy as np
import pytest

from tasks.common.audio import RATE
from tasks.common.errors import UserError
from tasks.common.params import load, validate
from tasks.rooms.measure import DIRECT, aligned, direct_index, measure
from tasks.rooms.params import RoomsParams
from tasks.rooms.simulate import recipe, room_response, sabine, simulated_row


def decay(rt60_s: float, seconds: float | None = None, noise_db: float | None = None) -> np.ndarray:
    """Sign noise under an exponential of the given RT60, from `DIRECT` on; its energy at each time is exact."""
    rng = np.random.default_rng(3)
    frames = int((seconds or 1.5 * rt60_s) * RATE)
    wave = rng.choice([-1.0, 1.0], frames) * 10 ** (-3 * np.arange(frames) / RATE / rt60_s)
    out = np.concatenate([np.zeros(DIRECT), wave])
    if noise_db is not None:
        out += rng.normal(0, 10 ** (noise_db / 20), len(out))
    return out.astype(np.float32)


@pytest.mark.parametrize("rt60_s", [0.15, 0.3, 0.6, 1.2, 3.0])
def test_rooms_rt60_of_a_known_decay(rt60_s: float) -> None:
    found = measure(decay(rt60_s))
    assert found.fit == "T30"
    assert found.rt60_s == pytest.approx(rt60_s, rel=0.01)


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 1.0])
def test_rooms_c50_of_a_known_decay(rt60_s: float) -> None:
    early = 1 - 10 ** (-6 * 0.05 / rt60_s)
    assert measure(decay(rt60_s)).c50_db == pytest.approx(10 * np.log10(early / (1 - early)), abs=0.05)


@pytest.mark.parametrize(("noise_db", "fit"), [(-60, "T30"), (-40, "T20"), (-20, "none")])
def test_rooms_noise_floor_shortens_the_fit(noise_db: float, fit: str) -> None:
    found = measure(decay(0.5, seconds=1.5, noise_db=noise_db))
    assert found.fit == fit
    assert found.rt60_s == (None if fit == "none" else pytest.approx(0.5, rel=0.05))


def test_rooms_alignment() -> None:
    rir = np.concatenate([np.zeros(500), decay(0.3)[DIRECT:]]).astype(np.float32) * 0.01
    made = aligned(rir)
    assert direct_index(made) == DIRECT
    assert np.sum(made[: 2 * DIRECT].astype(np.float64) ** 2) == pytest.approx(1.0, rel=1e-5)
    assert measure(made).rt60_s == pytest.approx(0.3, rel=0.01)
    with pytest.raises(ValueError, match="silent"):
        aligned(np.zeros(1000, np.float32))


def test_rooms_simulated_room_has_the_rt60_asked() -> None:
    params = load("rooms", RoomsParams)
    for index in range(4):
        room = recipe("unit", index, params)
        room["rt60_asked_s"] = 0.15 + 0.05 * index
        row = simulated_row(room)
        assert row["rt60_s"] == pytest.approx(room["rt60_asked_s"], rel=0.02)
        assert direct_index(row["rir"]) == DIRECT and np.isfinite(row["rir"]).all()
        assert simulated_row(room)["rir"].tobytes() == row["rir"].tobytes(), "the same recipe gives the same bits"


def test_rooms_correction_is_needed() -> None:
    """Sabine alone misses this room by a sixth; the corrections bring it to what was asked."""
    room = recipe("train", 11, load("rooms", RoomsParams))
    uncorrected = measure(room_response(room, sabine(room["dims_m"], room["rt60_asked_s"]))).rt60_s
    assert uncorrected is not None and abs(uncorrected / room["rt60_asked_s"] - 1) > 0.1
    row = simulated_row(room)
    assert json.loads(row["metadata"])["rt60_sabine_s"] == uncorrected
    assert row["rt60_s"] == pytest.approx(room["rt60_asked_s"], rel=0.02)


def test_rooms_draws_stay_inside() -> None:
    params = load("rooms", RoomsParams)
    for index in range(200):
        room = recipe("train", index, params)
        for point in (room["source_m"], room["microphone_m"]):
            assert all(params.wall_m - 1e-3 <= at <= side - params.wall_m + 1e-3 for at, side in zip(point, room["dims_m"], strict=True))
        distance = float(np.linalg.norm(np.subtract(room["source_m"], room["microphone_m"])))
        assert params.distance_m[0] - 0.01 <= distance <= params.distance_m[1] + 0.01
        assert params.rt60_s[0] <= room["rt60_asked_s"] <= params.rt60_s[1]


def test_rooms_params_are_checked() -> None:
    good = load("rooms", RoomsParams).model_dump()
    with pytest.raises(UserError, match="rt60_s runs from"):
        validate(RoomsParams, {**good, "rt60_s": [0.6, 0.2]}, "params.yaml")
    with pytest.raises(UserError, match="no place"):
        validate(RoomsParams, {**good, "wall_m": 2.0}, "params.yaml")


def test_rooms_a_response_without_one_decay_has_no_rt60() -> None:
    """A dead room with a long faint tail: 3 s of it would be a wrong answer, and so would 0.05 s."""
    rir = decay(0.05, seconds=3.0) + 0.004 * decay(3.0, seconds=3.0)
    assert measure(rir).fit == "none"
