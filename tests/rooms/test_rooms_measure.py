"""RT60, C50 and DRR against decays whose values are known."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from tasks.common.audio import RATE
from tasks.rooms.bands import rt60_by_octave
from tasks.rooms.measure import DIRECT, aligned, direct_index, measure


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


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 1.0])
def test_rooms_drr_of_a_known_decay(rt60_s: float) -> None:
    """A direct sound of energy 1, silence for 5 ms, and a decay of energy 0.1: 10 dB."""
    tail = decay(rt60_s)[DIRECT:].astype(np.float64)
    rir = np.concatenate([np.zeros(DIRECT), [1.0], np.zeros(80), tail * np.sqrt(0.1 / np.sum(tail**2))]).astype(np.float32)
    assert measure(rir).drr_db == pytest.approx(10.0, abs=0.05)


def test_rooms_drr_of_a_decay_counts_its_first_two_and_a_half_milliseconds() -> None:
    near = 1 - 10 ** (-6 * 41 / RATE / 0.5)
    assert measure(decay(0.5)).drr_db == pytest.approx(10 * np.log10(near / (1 - near)), abs=0.05)


def test_rooms_rt60_of_two_octaves() -> None:
    """A decay that is longer below 700 Hz than above; the octaves that lie clear of the edge tell which."""
    slow, fast = decay(0.8, seconds=1.2), decay(0.3, seconds=1.2)
    low = sosfiltfilt(butter(8, 700, fs=RATE, output="sos"), slow)
    high = sosfiltfilt(butter(8, 700, "highpass", fs=RATE, output="sos"), fast)
    found = rt60_by_octave((low + high).astype(np.float32))
    assert found[1] == pytest.approx(0.8, rel=0.1)
    assert found[4:6] == [pytest.approx(0.3, rel=0.05)] * 2


def test_rooms_an_array_keeps_its_delays_and_levels() -> None:
    wave = decay(0.3)[DIRECT:]
    near = np.concatenate([np.zeros(500), wave]).astype(np.float32)
    far = np.concatenate([np.zeros(507), 0.5 * wave]).astype(np.float32)
    for pair, first in (([near, far], 0), ([far, near], 1)):
        made = aligned(pair)
        assert direct_index(made[first]) == DIRECT and direct_index(made[1 - first]) == DIRECT + 7
        assert np.max(np.abs(made[1 - first])) == pytest.approx(0.5 * np.max(np.abs(made[first])), rel=1e-5)


@pytest.mark.parametrize(("noise_db", "fit"), [(-60, "T30"), (-40, "T20"), (-20, "none")])
def test_rooms_noise_floor_shortens_the_fit(noise_db: float, fit: str) -> None:
    found = measure(decay(0.5, seconds=1.5, noise_db=noise_db))
    assert found.fit == fit
    assert found.rt60_s == (None if fit == "none" else pytest.approx(0.5, rel=0.05))


def test_rooms_alignment() -> None:
    rir = np.concatenate([np.zeros(500), decay(0.3)[DIRECT:]]).astype(np.float32) * 0.01
    [made] = aligned([rir])
    assert direct_index(made) == DIRECT
    assert np.sum(made[: 2 * DIRECT].astype(np.float64) ** 2) == pytest.approx(1.0, rel=1e-5)
    assert measure(made).rt60_s == pytest.approx(0.3, rel=0.01)
    with pytest.raises(ValueError, match="silent"):
        aligned([np.zeros(1000, np.float32)])


def test_rooms_a_response_without_one_decay_has_no_rt60() -> None:
    """A dead room with a long faint tail: 3 s of it would be a wrong answer, and so would 0.05 s."""
    rir = decay(0.05, seconds=3.0) + 0.004 * decay(3.0, seconds=3.0)
    assert measure(rir).fit == "none"
