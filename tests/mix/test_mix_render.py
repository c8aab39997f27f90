"""Rendering: the SNR asked is the SNR measured, nothing clips, and the direct sound stays where it was."""

import numpy as np
import pytest
import torch
import torchaudio.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.audio import active_power, decode, encode_flac, rms_dbfs
from tasks.mix.render import mix, reverberated, stretch
from tasks.rooms.measure import DIRECT


def speech(frames: int = 16_000, seed: int = 0) -> np.ndarray:
    """Two bursts with silence around them, so active power and mean power differ."""
    wave = np.random.default_rng(seed).normal(0, 0.1, frames)
    wave[: frames // 4] = 0
    wave[frames // 2 : frames * 5 // 8] = 0
    return wave.astype(np.float32)


def noise(frames: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, frames).astype(np.float32)


def impulse(decay_frames: int = 4000) -> np.ndarray:
    rir = np.zeros(DIRECT + decay_frames, np.float32)
    rir[DIRECT] = 1.0
    rir[DIRECT + 800 :: 97] = 0.05
    return rir


@settings(max_examples=40, deadline=None)
@given(st.floats(-20, 30), st.floats(0, 0.999), st.floats(-32, -10), st.booleans(), st.integers(100, 60_000))
def test_mix_snr_is_achieved_and_nothing_clips(snr_db: float, offset: float, level: float, room: bool, frames: int) -> None:
    clean, under = speech(), noise(frames)
    made = mix(clean, under, impulse() if room else None, snr_db=snr_db, offset=offset, level_dbfs=level)
    assert made.snr_db == pytest.approx(snr_db, abs=0.1)
    assert len(made.wave) == len(clean) and np.abs(made.wave).max() <= 0.99 + 1e-6
    assert made.level_dbfs == pytest.approx(rms_dbfs(made.wave)) and made.level_dbfs <= level + 0.01
    again = decode(encode_flac(made.wave))[0]
    assert np.abs(again - made.wave).max() <= 1.01 / 65536

    # Taken apart independently: what is left of the mixture after the speech is the noise, at the SNR asked.
    heard = reverberated(clean, impulse()) if room else clean
    gain = 10 ** ((made.level_dbfs - rms_dbfs(mix(clean, under, impulse() if room else None, snr_db=snr_db, offset=offset).wave)) / 20)
    rest = made.wave.astype(np.float64) - gain * heard
    assert 10 * np.log10(active_power((gain * heard).astype(np.float32)) / np.mean(rest**2)) == pytest.approx(snr_db, abs=0.1)


def test_mix_agrees_with_torchaudio() -> None:
    """Where the speech has no pause, the equation is that of torchaudio's add_noise."""
    clean, under = noise(8000, 5) * 3, noise(8000)
    expected = F.add_noise(torch.from_numpy(clean)[None], torch.from_numpy(under)[None], torch.tensor([4.0]))[0].numpy()
    np.testing.assert_allclose(mix(clean, under, snr_db=4.0).wave, expected, atol=1e-6)


def test_mix_a_loud_level_is_lowered_not_clipped() -> None:
    spiky = speech()
    spiky[6000] = 0.9
    made = mix(spiky, noise(30_000), snr_db=20.0, level_dbfs=-3.0)
    assert np.abs(made.wave).max() == pytest.approx(0.99, abs=1e-4) and made.level_dbfs < -3.0


def test_mix_clean_is_left_alone() -> None:
    clean = speech()
    made = mix(clean)
    assert made.wave.tobytes() == clean.tobytes() and made.snr_db is None


def test_mix_reverberation_keeps_length_and_direct_sound() -> None:
    clean = np.zeros(8000, np.float32)
    clean[3000] = 1.0
    wet = reverberated(clean, impulse())
    assert len(wet) == len(clean) and int(np.argmax(np.abs(wet))) == 3000
    late = np.zeros(8000, np.float32)
    late[-1] = 1.0
    assert reverberated(late, impulse())[-1] == pytest.approx(1.0, abs=1e-5)


def test_mix_noise_is_cropped_or_looped() -> None:
    ramp = np.arange(1, 11, dtype=np.float32)
    assert stretch(ramp, 4, 0.0).tolist() == [1, 2, 3, 4]
    assert stretch(ramp, 4, 0.999999).tolist() == [7, 8, 9, 10]
    assert stretch(ramp, 10, 0.5).tolist() == ramp.tolist()
    assert stretch(ramp, 12, 0.5).tolist() == [6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7]


def test_mix_a_silent_stretch_is_replaced() -> None:
    clicks = np.zeros(50_000, np.float32)
    clicks[40_000] = 0.5
    made = mix(speech(), clicks, snr_db=0.0, offset=0.0)
    assert made.snr_db == pytest.approx(0.0, abs=0.1)
    with pytest.raises(ValueError, match="noise is silent"):
        mix(speech(), np.zeros(50_000, np.float32), snr_db=0.0)
    with pytest.raises(ValueError, match="speech is silent"):
        mix(np.zeros(1000, np.float32), noise(5000), snr_db=0.0)
