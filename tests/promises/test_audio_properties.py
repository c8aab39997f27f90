"""Promise 9: what holds for any sound, on the path a mixture takes: resampled, put in a room, mixed, encoded, and kept to its split.

Where a property has a definition in the literature it is computed here in double precision, without the project's own measures.
"""

import functools
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin

from tasks.catalog.stage import run as catalogue
from tasks.common.audio import RATE, Wave, decode, encode_flac, resample
from tasks.common.fanout import in_process
from tasks.common.params import load
from tasks.common.tables import AUDIO, read_rows, write_parquet
from tasks.items import stage as items
from tasks.mix import stage as mixtures
from tasks.mix.params import MixParams
from tasks.mix.render import Renderer, mix, reverberated, stretch
from tasks.rooms import stage as rooms
from tasks.rooms.draw import request
from tasks.rooms.measure import DIRECT
from tasks.rooms.params import RoomsParams
from tasks.rooms.simulate import simulated_rows
from tests.incremental.small_build import NOISE, SPEECH, write_entry, write_params, write_sound

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = int(os.environ.get("AUDIO_EXAMPLES", "30"))  # of each property; those that build a catalog try a quarter of them
SEEDS = st.integers(0, 2**32 - 1)
LEVELS = st.floats(-60.0, -6.0)  # dBFS
ROOMS = st.none() | st.integers(0, 5)
SMALL = {"rt60_s": (0.15, 0.4), "length_m": (2.5, 4.0), "width_m": (2.5, 4.0), "height_m": (2.4, 3.0)}


def coloured(seed: int, frames: int, level_dbfs: float = -25.0, pauses: bool = False) -> Wave:
    """Noise of a colour of its own, with stretches of silence where asked."""
    rng = np.random.default_rng(seed)
    wave = fftconvolve(rng.normal(0, 1, frames), rng.normal(0, 1, 5), "same")
    if pauses:
        for start in rng.integers(0, frames, 2):
            wave[start : start + frames // 5] = 0
    return np.asarray(wave * 10 ** (level_dbfs / 20) / max(np.sqrt(np.mean(wave**2)), 1e-9), np.float32)


@functools.cache
def response(index: int) -> Wave:
    """Of a simulated room, as the rooms stage stores it."""
    [row] = simulated_rows(request("property", index, RoomsParams.model_validate(load("rooms", RoomsParams).model_dump() | SMALL)))
    return np.asarray(row["rir"], np.float32)


def energy(wave: NDArray[Any]) -> float:
    return float(np.sum(np.square(wave.astype(np.float64))))


def active(wave: NDArray[Any]) -> float:
    """Mean power of the whole 20 ms frames within 40 dB of the loudest, in double precision: the SNR's speech power by its definition."""
    frames = wave.astype(np.float64)[: len(wave) // 320 * 320].reshape(-1, 320)
    power = (frames**2).mean(axis=1)
    return float(power[power >= power.max() * 1e-4].mean())


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.integers(1600, 40_000), st.integers(50, 60_000), LEVELS, LEVELS, st.floats(-10, 30), ROOMS)
def test_the_snr_at_rest_is_the_one_asked_for(
    seed: int, frames: int, noise_frames: int, loud: float, noisy: float, snr_db: float, room: int | None
) -> None:
    """Measured on what a shard holds, 16-bit FLAC, with the noise told by subtraction; within 0.1 dB where the noise is far above the rounding."""
    speech, noise = coloured(seed, frames, loud, pauses=True), coloured(seed + 1, noise_frames, noisy)
    rir = None if room is None else response(room)
    made = mix(speech, noise, rir, snr_db=snr_db, offset=0.3, level_dbfs=-23.0)
    rest = decode(encode_flac(made.wave))[0]
    heard = (speech if rir is None else fftconvolve(speech.astype(np.float64), rir.astype(np.float64))[DIRECT:][:frames]).astype(np.float64)
    under = stretch(noise, frames, 0.3).astype(np.float64)
    parts = np.stack([heard, under], axis=1)
    gains, *_ = np.linalg.lstsq(parts, rest.astype(np.float64), rcond=None)
    assert len(rest) == frames and np.abs(rest - parts @ gains).max() <= 2 / 32768
    assert 10 * np.log10(active(gains[0] * heard) / np.mean((gains[1] * under) ** 2)) == pytest.approx(snr_db, abs=0.1)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.integers(320, 20_000), st.floats(-10, 20), st.floats(-30, 30), st.floats(-30, 30), ROOMS)
def test_mixing_is_linear(seed: int, frames: int, snr_db: float, speech_gain: float, noise_gain: float, room: int | None) -> None:
    """Louder speech gives the same mixture louder, the noise's own level counts for nothing, and the mixture is a sum of speech and noise."""
    speech, noise = coloured(seed, frames, -30), coloured(seed + 1, frames + 999, -30)
    rir = None if room is None else response(room)
    up, other = np.float32(10 ** (speech_gain / 20)), np.float32(10 ** (noise_gain / 20))
    plain = mix(speech, noise, rir, snr_db=snr_db).wave
    scaled = mix(speech * up, noise * other, rir, snr_db=snr_db).wave
    assert np.abs(scaled - up * plain).max() <= 1e-5 * np.abs(scaled).max()
    rest = plain - (speech if rir is None else reverberated(speech, rir))
    under = stretch(noise, frames, 0.0)
    gain = float(rest @ under / (under @ under))
    assert gain > 0 and np.abs(rest - gain * under).max() <= 1e-5 * np.abs(plain).max()


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.integers(1, 30_000), st.floats(-2, 2), st.integers(0, 3000), st.integers(0, 5))
def test_a_room_is_linear_and_does_not_change_with_time(seed: int, frames: int, weight: float, delay: int, room: int) -> None:
    one, other, rir = coloured(seed, frames), coloured(seed + 1, frames), response(room)
    both = reverberated(one + np.float32(weight) * other, rir)
    apart = reverberated(one, rir) + np.float32(weight) * reverberated(other, rir)
    assert len(both) == frames and np.abs(both - apart).max() <= 1e-5 * max(np.abs(apart).max(), 1e-3)
    late = reverberated(np.concatenate([np.zeros(delay, np.float32), one]), rir)
    before = reverberated(np.concatenate([one, np.zeros(DIRECT, np.float32)]), rir)[:frames]
    # Up to DIRECT samples of the response lie before the direct sound: what they bring in front of the clip is cut where it is not late.
    assert np.abs(late[delay:] - before).max() <= 1e-5 * max(np.abs(before).max(), 1e-3)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.integers(1, 20_000), st.integers(0, 5))
def test_the_energy_behind_a_room_is_that_of_parseval(seed: int, frames: int, room: int) -> None:
    """Sum |y|^2 is the mean of |X H|^2 over frequency; the little before the direct sound is what the cut start may lack."""
    speech, rir = coloured(seed, frames), response(room)
    tail = np.zeros(len(rir), np.float32)
    wet = reverberated(np.concatenate([speech, tail]), rir)
    length = 1 << int(frames + 2 * len(rir)).bit_length()
    spectra = np.fft.rfft(speech.astype(np.float64), length), np.fft.rfft(rir.astype(np.float64), length)
    power = np.abs(spectra[0] * spectra[1]) ** 2
    expected = float((2 * power.sum() - power[0] - power[-1]) / length)
    lead = energy(fftconvolve(speech.astype(np.float64), rir.astype(np.float64))[:DIRECT])
    assert energy(wet) == pytest.approx(expected - lead, rel=1e-4)
    click = np.zeros(len(rir) + 1, np.float32)
    click[0] = 1.0
    assert energy(reverberated(click, rir)) == pytest.approx(energy(rir[DIRECT:]), rel=1e-5)
    assert energy(rir) >= 1.0 - 1e-5  # the direct path alone has energy 1, so no room makes a click fainter


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.integers(1, 20_000), st.floats(-60, 20), st.floats(-40, 0), st.floats(-10, 20), st.floats(0.1, 1.0), ROOMS)
def test_nothing_clips(seed: int, frames: int, loud: float, level_dbfs: float, snr_db: float, peak: float, room: int | None) -> None:
    """Speech and noise far over full scale included, and with one sample thirty times as loud as the rest."""
    speech, noise = coloured(seed, frames, loud), coloured(seed + 1, 5000, loud)
    speech[seed % frames] *= 30
    made = mix(speech, noise, None if room is None else response(room), snr_db=snr_db, level_dbfs=level_dbfs, peak=peak)
    assert np.abs(made.wave).max() <= peak * (1 + 1e-6) and len(made.wave) == frames
    rest, _ = sf.read(io.BytesIO(encode_flac(made.wave)), dtype="int16")
    assert np.abs(rest.astype(int)).max() <= np.ceil(peak * 32768)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.sampled_from([8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000]), st.integers(4000, 20_000))
def test_resampling_there_and_back_keeps_what_both_rates_can_hold(seed: int, rate: int, frames: int) -> None:
    """Sound below 0.85 of the lower Nyquist frequency comes back 50 dB above the error, as long as it was; the ends ring for 20 ms."""
    band = firwin(801, 0.85 * min(rate, RATE) / 2, window=("kaiser", 8.0), fs=RATE)
    wave = np.asarray(fftconvolve(coloured(seed, frames), band, "same"), np.float32)
    there = resample(wave, RATE, rate)
    back = resample(there, rate)
    assert abs(len(there) - frames * rate / RATE) < 1 and 0 <= len(back) - frames < RATE / rate + 1
    middle = slice(320, min(len(back), frames) - 320)
    assert energy(back[middle] - wave[middle]) <= 1e-5 * energy(wave[middle])


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, st.integers(1, 9000), st.floats(-110, 10))
def test_what_is_encoded_comes_back(seed: int, frames: int, level_dbfs: float) -> None:
    """Within half a step of 16 bits, and from then on to the bit: FLAC, its Parquet column and a second encoding lose nothing."""
    wave = coloured(seed, frames, level_dbfs)
    data = encode_flac(wave)
    once, rate = decode(data)
    assert rate == RATE and np.abs(once - np.clip(wave, -1.0, 32767 / 32768)).max() <= 0.5 / 32768 + 1e-9
    assert encode_flac(once) == data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        write_parquet(path, [{"audio": {"bytes": data, "path": "x.flac"}}], pa.schema([("audio", AUDIO)]))
        assert decode(read_rows(path)[0]["audio"]["bytes"])[0].tobytes() == once.tobytes()


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 400_000))
def test_the_order_of_rendering_changes_no_bit(order: list[int], keep: int) -> None:
    """A renderer that has met other rooms and clips before, in any order and with little memory, renders what a fresh one does."""

    def response_of(name: str) -> Wave:
        return np.resize(response(int(name)), 4000)  # all as long, so that only the room tells their spectra apart

    def rendered(renderer: Renderer, number: int) -> bytes:
        made = renderer.mix(coloured(number, 4000), coloured(9, 3000), str(number % 3), snr_db=5.0, level_dbfs=-20.0)
        return made.wave.tobytes()

    one = Renderer(response_of, keep)
    assert {number: rendered(one, number) for number in order} == {number: rendered(Renderer(response_of), number) for number in range(6)}


TAKES = st.tuples(st.integers(0, 5), st.integers(0, 30))  # a speaker or a noise type, and what is heard: numbers met twice are the same samples
SHARE = st.sampled_from([0.1, 0.34, 0.45])


@settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=st.sets(TAKES, min_size=6, max_size=16), heard=st.sets(TAKES, min_size=3, max_size=10), validation=SHARE, test=SHARE)
def test_nothing_is_heard_in_two_splits(said: set[tuple[int, int]], heard: set[tuple[int, int]], validation: float, test: float) -> None:
    """From random small corpora, some recordings of which are there twice under other names, to the plan of their mixtures."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_corpora(said, heard, validation, test)
        for run in (catalogue, rooms.run):
            run(fan_out=in_process)
        items.run()
        speech, noise = (read_rows(Path(f"data/catalog/{kind}.parquet")) for kind in ("speech", "noise"))
        of_room = {row["room_id"]: row for row in read_rows(Path("data/rooms"))}
        of_clip = {row["clip_id"]: row for row in [*speech, *noise]}
        assert len(of_clip) == len(speech) + len(noise), "a clip is there twice"
        assert in_one_split(speech, "speaker") and in_one_split(of_room.values(), "place_id")
        assert in_one_split([row | {"file": row["path"].partition("@")[0]} for row in noise], "file")
        samples: dict[str, set[str]] = {}
        for row in [*speech, *noise]:
            samples.setdefault(row["sha256"], set()).add(row["split"])
        assert all(len(splits) == 1 for splits in samples.values()), "one recording under two names is in two splits"
        assert all(row["split"] == of_clip[row["clip_id"]]["split"] for row in read_rows(Path("data/items.parquet")))
        for row in mixtures.planned(load("mix", MixParams)).to_pylist():
            parts = [of_clip[name] for name in (row["clip_id"], *row["noise_ids"], *row["voice_ids"])]
            parts += [of_room[row["room_id"]]] if row["room_id"] else []
            assert {part["split"] for part in parts} == {row["split"]}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_properties_hold_for_many_more_sounds() -> None:
    """The tests above with two thousand examples each."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not soak", "-o", "timeout=3000", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"AUDIO_EXAMPLES": "2000"}, capture_output=True, text=True)
    print(done.stdout[-2000:])
    assert done.returncode == 0


def write_corpora(said: set[tuple[int, int]], heard: set[tuple[int, int]], validation: float, test: float) -> None:
    """A recording a pair, its samples by the second number alone, so that another speaker may hold the same file."""
    shares = {"test": test, "validation": validation}
    Path("profiles").mkdir()
    Path("profiles/tiny.yaml").write_text("{}\n")
    Path("catalogs/questions").mkdir(parents=True)
    Path("catalogs/questions/words.yaml").write_bytes((ROOT / "catalogs/questions/words.yaml").read_bytes())
    for speaker, take in said:
        write_sound(Path(f"sounds/talk/{'abcdef'[speaker]}/elm ash {take}.flac"), 0.3, "talk", take)
    for kind, number in heard:
        write_sound(Path(f"sounds/din/{'abcdef'[kind]}/clip-{number:03d}.flac"), 0.5, "din", number)
    write_entry(SPEECH | {"split": {"field": "speaker", **shares}})
    write_entry(NOISE | {"pattern": r"(?P<noise_type>[a-z]+)/(?P<take>clip-\d+)\.flac", "split": {"field": "take", **shares}})
    write_params("sounds", {"speech": [{"share": 0.5, "source": {"babble": {"count": [2, 2]}}}]}, 256)


def in_one_split(rows: Any, field: str) -> bool:
    """Whether no value of a field is in two splits."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row[field], set()).add(row["split"])
    return all(len(splits) == 1 for splits in found.values())
