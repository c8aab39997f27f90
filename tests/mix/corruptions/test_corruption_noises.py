"""Each noise stands at its level against the first, from its own offset."""

import numpy as np
import pytest

from tasks.mix.corruptions import noises
from tests.mix.corruptions.material import rng, tone, uniform


def test_noises_stand_at_their_levels() -> None:
    waves = [tone(1000.0, 3.0, 0.5), tone(2000.0, 3.0, 0.001), tone(3000.0, 0.5, 0.1)]
    made = noises.mixdown(waves, 16_000, count=2, levels_db=[-6.0, 3.0], offsets=[0.0, 0.0, 0.0])
    power = 2 * np.abs(np.fft.rfft(made) / 16_000) ** 2
    assert 10 * np.log10(power[[1000, 2000, 3000]]) == pytest.approx([0, -6, 3], abs=0.05)


def test_noises_start_at_their_offsets_and_a_silent_one_adds_nothing() -> None:
    wave = rng().standard_normal(30_000).astype(np.float32)
    made = noises.mixdown([wave, np.zeros(100, np.float32)], 10_000, count=1, levels_db=[0.0], offsets=[0.5, 0.0])
    piece = wave[10_000:20_000]
    np.testing.assert_allclose(made, piece / np.std(piece), rtol=0.01, atol=0.01)


def test_noises_draw_a_level_for_each_further_one_and_an_offset_for_all() -> None:
    drawn = noises.draw(noises.Params(count=(1, 3), level_db=(-10, -5)), uniform(200))
    assert set(drawn["count"]) == {1, 2, 3}
    for count, levels, offsets in zip(drawn["count"], drawn["levels_db"], drawn["offsets"], strict=True):
        assert len(levels) == count and len(offsets) == count + 1 and all(-10 <= level <= -5 for level in levels)
        assert len(set(offsets)) == len(offsets)
