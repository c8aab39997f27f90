"""Rendering: the SNR asked is the SNR measured, nothing clips, and the direct sound stays where it was."""

import numpy as np
import pytest
import torch
import torchaudio.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from tasks.common.audio import active_power, decode, encode_flac, rms_dbfs
from tasks.mix.convolve import blocks, spectrum
from tasks.mix.memory import Kept
from tasks.mix.render import Renderer, mix, reverberated, stretch
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


def room(seed: int, taps: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rir = rng.normal(0, 0.05, taps) * 10 ** (-3 * np.arange(taps) / taps)
    rir[:DIRECT], rir[DIRECT] = 0, 1
    return rir.astype(np.float32)


ROOMS = st.none() | st.builds(room, st.integers(0, 3), st.integers(DIRECT + 1, 16_000))


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 30), st.floats(0, 0.999), st.floats(-32, -10), ROOMS, st.integers(400, 40_000), st.integers(100, 60_000))
def test_mix_snr_is_achieved_and_nothing_clips(
    snr_db: float, offset: float, level: float, rir: np.ndarray | None, frames: int, noise_frames: int
) -> None:
    clean, under = speech(frames), noise(noise_frames)
    made = mix(clean, under, rir, snr_db=snr_db, offset=offset, level_dbfs=level)
    assert made.snr_db == pytest.approx(snr_db, abs=0.1)
    assert len(made.wave) == len(clean) and np.abs(made.wave).max() <= 0.99 + 1e-6
    assert made.level_dbfs == pytest.approx(rms_dbfs(made.wave)) and made.level_dbfs <= level + 0.01
    again = decode(encode_flac(made.wave))[0]
    assert np.abs(again - made.wave).max() <= 1.01 / 65536

    # Taken apart independently: what is left of the mixture after the speech is the noise, at the SNR asked.
    heard = reverberated(clean, rir) if rir is not None else clean
    gain = 10 ** ((made.level_dbfs - rms_dbfs(mix(clean, under, rir, snr_db=snr_db, offset=offset).wave)) / 20)
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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.integers(DIRECT + 1, 20_000), st.integers(1, 70_000))
def test_mix_reverberation_is_the_convolution(seed: int, taps: int, frames: int) -> None:
    clean, rir = noise(frames, seed), room(seed, taps)
    expected = fftconvolve(clean.astype(np.float64), rir.astype(np.float64))[DIRECT:][:frames]
    assert np.abs(reverberated(clean, rir) - expected).max() <= 1e-6 * np.abs(expected).max(initial=1e-3) * 5


@given(st.integers(1, 2_000_000), st.integers(1, 100_000))
def test_mix_blocks_cover_the_signal_and_are_quick_to_transform(frames: int, taps: int) -> None:
    number, length = blocks(frames, taps)
    assert number % 4 == 0 and number * (length - taps + 1) >= frames
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    assert length == 1


def test_mix_a_response_without_a_direct_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="direct sound"):
        reverberated(speech(), np.ones(DIRECT, np.float32))


@settings(max_examples=30, deadline=None)
@given(st.floats(-10, 20), st.floats(0, 0.9), st.floats(0.05, 1.0), st.booleans())
def test_mix_noise_on_a_part_has_its_snr_there(snr_db: float, start: float, length: float, flat: bool) -> None:
    """Noise that is on for a part is as loud there as noise that is on throughout."""
    clean, under = speech(), noise(16_000)
    gain = np.zeros(16_000, np.float32)
    on = slice(int(start * 16_000), int(start * 16_000) + max(800, int(length * 16_000)))
    gain[on] = 1.0 if flat else np.linspace(0.2, 3.0, len(gain[on]))
    made = mix(clean, under, snr_db=snr_db, envelope=gain)
    rest = made.wave.astype(np.float64) - clean
    assert not rest[: on.start].any() and not rest[on.stop :].any()
    assert 10 * np.log10(active_power(clean) / np.mean(rest[on] ** 2)) == pytest.approx(snr_db, abs=0.1)
    assert made.snr_db == pytest.approx(snr_db, abs=0.1)


def test_mix_an_envelope_of_nothing_is_silent_noise() -> None:
    with pytest.raises(ValueError, match="noise is silent"):
        mix(speech(), noise(16_000), envelope=np.zeros(16_000, np.float32))


def test_mix_effects_come_after_the_snr_and_before_the_level() -> None:
    heard: list[np.ndarray] = []

    def clip(wave: np.ndarray) -> np.ndarray:
        heard.append(wave.copy())
        return np.clip(wave, -0.05, 0.05)

    plain = mix(speech(), noise(30_000), snr_db=3.0)
    made = mix(speech(), noise(30_000), snr_db=3.0, effects=clip, level_dbfs=-20.0)
    assert heard[0].tobytes() == plain.wave.tobytes() and made.snr_db == plain.snr_db
    assert made.level_dbfs == pytest.approx(-20.0, abs=0.01) == pytest.approx(rms_dbfs(made.wave))
    assert np.abs(made.wave).max() == pytest.approx(np.sort(np.abs(made.wave))[-100])  # the plateau of the clipping is still there


def test_mix_arguments_are_left_alone() -> None:
    parts = (speech(), noise(30_000), room(0, 4000))
    before = [part.tobytes() for part in parts]
    mix(*parts, snr_db=3.0, envelope=np.full(16_000, 0.5, np.float32), level_dbfs=-20.0)
    mix(parts[0], parts[1], level_dbfs=-20.0)
    mix(parts[0], level_dbfs=-20.0)
    assert [part.tobytes() for part in parts] == before


@pytest.mark.parametrize("keep", [0, 100_000, 1 << 30])
def test_mix_what_is_kept_changes_no_sample(keep: int) -> None:
    rooms = {str(seed): room(seed, 3000 + seed) for seed in range(4)}
    renderer = Renderer(rooms.__getitem__, keep)
    for turn in range(3):
        for name in rooms:
            made = renderer.mix(speech(seed=turn), noise(20_000), name, snr_db=5.0, level_dbfs=-20.0)
            expected = mix(speech(seed=turn), noise(20_000), rooms[name], snr_db=5.0, level_dbfs=-20.0)
            assert made.wave.tobytes() == expected.wave.tobytes() and made.snr_db == expected.snr_db


def test_mix_kept_arrays_stay_within_their_bytes() -> None:
    kept, made = Kept(1000), []

    def array(key: int) -> np.ndarray:
        return kept.get(key, lambda: (made.append(key), np.full(50, key, np.float64))[1])

    assert [array(key)[0] for key in (0, 1, 0, 2, 1, 0)] == [0, 1, 0, 2, 1, 0]
    assert made == [0, 1, 2, 1, 0] and kept.used == sum(one.nbytes for one in kept.arrays.values()) <= 1000


def test_mix_spectrum_is_single_precision() -> None:
    assert spectrum(room(0, 1000), 2048).dtype == np.complex64
