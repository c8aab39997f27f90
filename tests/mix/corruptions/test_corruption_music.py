"""Music long enough is played as it is; shorter music is looped without a seam."""

import numpy as np
import pytest

from tasks.common.audio import RATE, rms_dbfs
from tasks.mix.corruptions import music
from tests.mix.corruptions.material import rng


def test_music_long_enough_is_a_stretch_of_the_clip() -> None:
    clip = rng().standard_normal(50_000).astype(np.float32)
    assert np.array_equal(music.mixdown([clip], 20_000, count=0, offset=0.0, fade_s=1.0), clip[:20_000])


def test_music_loops_with_a_cross_fade_of_equal_power() -> None:
    clip = rng().standard_normal(2 * RATE).astype(np.float32)
    fade = RATE // 2
    made = music.mixdown([clip], 5 * RATE, count=0, offset=0.0, fade_s=0.5)
    period = len(clip) - fade
    assert np.array_equal(made[fade:period], clip[fade:period]), "outside of the fade it is the clip"
    assert np.array_equal(made[:period], made[period : 2 * period]), "then it comes again"
    join = made[period : period + fade]
    assert rms_dbfs(join) == pytest.approx(rms_dbfs(clip), abs=0.3)


def test_music_has_no_seam() -> None:
    """A slow ramp cut off at its end jumps when it is looped; the cross-fade takes the jump away."""
    clip = np.sin(np.linspace(0, 3.5 * np.pi, RATE)).astype(np.float32)
    assert np.abs(np.diff(music.mixdown([clip], 4 * RATE, count=0, offset=0.3, fade_s=0.0))).max() > 0.9
    assert np.abs(np.diff(music.mixdown([clip], 4 * RATE, count=0, offset=0.3, fade_s=0.3))).max() < 0.01
