"""As many samples clip as asked, all at the same magnitude, and the others are left alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.mix.corruptions import clipping
from tests.mix.corruptions.material import rng


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.9), st.integers(10, 20_000))
def test_clipping_share_is_the_asked_one(share: float, frames: int) -> None:
    wave = rng().standard_normal(frames).astype(np.float32)
    made = clipping.apply(wave, rng(), share=share)
    changed = made != wave
    assert changed.sum() == int(share * frames)
    if changed.any():
        (threshold,) = np.unique(np.abs(made[changed]))
        assert np.abs(wave[~changed]).max(initial=0) <= threshold and (np.sign(made[changed]) == np.sign(wave[changed])).all()
