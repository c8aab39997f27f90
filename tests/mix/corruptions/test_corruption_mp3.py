"""MP3: asked bit rates, no delay where LAME's tag is missing, and a band that narrows with the rate."""

import io

import numpy as np
import pytest
import soundfile as sf

from tasks.common.errors import UserError
from tasks.mix.corruptions import mp3
from tasks.mix.corruptions.codec import CODER
from tests.mix.corruptions.material import band_db, lag, rng, snr_db, speech


@pytest.mark.parametrize("kbps", [8, 16, 32, 40, 64, 160])
def test_mp3_is_aligned_and_coded_at_its_rate(kbps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    write = sf.write

    def spy(file: io.BytesIO, *args: object, **kwargs: object) -> None:
        write(file, *args, **kwargs)
        sizes.append(len(file.getvalue()))

    monkeypatch.setattr(sf, "write", spy)
    clean = speech()
    made = mp3.apply(clean, rng(), kbps=kbps, coder=CODER)
    assert lag(made, clean) == 0 and len(made) == len(clean)
    assert sizes[0] * 8 / 3.0 / 1000 == pytest.approx(kbps, rel=0.12, abs=1.5)


def test_mp3_more_bits_less_error() -> None:
    clean = speech()
    errors = [snr_db(clean, mp3.apply(clean, rng(), kbps=kbps, coder=CODER)) for kbps in (16, 48, 160)]
    assert errors == sorted(errors) and errors[2] > errors[0] + 8
    loss = [band_db(mp3.apply(clean, rng(), kbps=kbps, coder=CODER), 6000, 7900) - band_db(clean, 6000, 7900) for kbps in (16, 160)]
    assert loss[0] < -15 < -3 < loss[1]


def test_mp3_a_recipe_of_another_libsndfile_is_refused() -> None:
    with pytest.raises(UserError, match="run mix again"):
        mp3.apply(speech(), rng(), kbps=32, coder="libsndfile 0.0")


@pytest.mark.parametrize("frames", [1, 1151, 1152, 1153, 20_001])
def test_mp3_any_length(frames: int) -> None:
    assert mp3.apply(speech()[:frames] + np.float32(0.01), rng(), kbps=16, coder=CODER).shape == (frames,)
