"""The gain before, between and after the steps is what was drawn."""

import numpy as np
import pytest

from tasks.mix.corruptions import gain
from tests.mix.corruptions.material import rng, uniform


def test_gain_steps_in_db_where_they_were_drawn() -> None:
    ones = np.full(32_000, 0.1, np.float32)
    made = 20 * np.log10(gain.apply(ones, rng(), static_db=3.0, at=[0.5, 0.25], steps_db=[-10.0, 4.0]) / 0.1)
    assert made[[0, 7800]] == pytest.approx([3, 3], abs=0.01)
    assert made[[8200, 15_800]] == pytest.approx([7, 7], abs=0.01)
    assert made[[16_200, -1]] == pytest.approx([-3, -3], abs=0.01)
    assert made[8000] == pytest.approx(5, abs=0.1) and np.abs(np.diff(made)).max() < 0.05, "a step is a 20 ms slope, not a click"


def test_gain_without_steps_is_a_factor() -> None:
    np.testing.assert_allclose(gain.apply(np.ones(10, np.float32), rng(), static_db=-20.0, at=[], steps_db=[]), 0.1, rtol=1e-6)


def test_gain_draws_as_many_steps_as_asked() -> None:
    drawn = gain.draw(gain.Params(steps=(0, 3), step_db=(-6, 6)), uniform(300))
    counts = [len(at) for at in drawn["at"]]
    assert set(counts) == {0, 1, 2, 3} and counts == [len(steps) for steps in drawn["steps_db"]]
    steps = [step for row in drawn["steps_db"] for step in row]
    assert min(steps) < -5 and max(steps) > 5 and np.abs(steps).max() <= 6
