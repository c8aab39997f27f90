"""The other talker falls in at the onset and says the utterance once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.mix.corruptions import competing
from tests.mix.corruptions.material import uniform


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0, 0.9))
def test_competing_is_the_utterance_from_its_onset_on(frames: int, clip: int, onset: float) -> None:
    other = np.arange(1, clip + 1, dtype=np.float32)
    made = competing.mixdown([other], frames, count=1, onset=onset)
    start = int(onset * frames)
    assert len(made) == frames and not made[:start].any()
    heard = min(clip, frames - start)
    assert np.array_equal(made[start : start + heard], other[:heard]) and not made[start + heard :].any()


def test_competing_draws_one_talker_and_an_onset() -> None:
    drawn = competing.draw(competing.Params(onset=(0.2, 0.4)), uniform(100))
    assert set(drawn["count"]) == {1} and 0.2 <= min(drawn["onset"]) < 0.22 and 0.38 < max(drawn["onset"]) <= 0.4
