"""Speech synthesis gives the same bits whatever was said before, and sounds long enough and no longer."""

from pathlib import Path

import numpy as np
import pytest

from tasks.common.audio import RATE, rms_dbfs
from tasks.common.errors import UserError
from tasks.common.params import load
from tasks.common.tables import read_rows
from tasks.synthesis.espeak import say, trim
from tasks.synthesis.params import SynthesisParams, Voices, WordsParams
from tasks.synthesis.stage import speaker_name, write_words

VOICE = "gmw/en-US+m3"


def test_a_word_does_not_depend_on_what_was_said_before() -> None:
    first = say("apple", VOICE, 190, 40)
    say("the train to the coast was late", "gmw/en+f2")
    say("window", VOICE, 170, 60)
    assert np.array_equal(first, say("apple", VOICE, 190, 40))


def test_word_voice_speed_and_pitch_are_heard() -> None:
    word = say("apple", VOICE, 170, 40)
    for other in (say("green", VOICE, 170, 40), say("apple", "gmw/en+f2", 170, 40), say("apple", VOICE, 170, 60)):
        assert len(other) != len(word) or not np.allclose(other, word, atol=0.01)
    assert len(say("apple", VOICE, 215, 40)) < 0.9 * len(word)


def test_every_word_of_the_parameters_fits_three_times_in_two_seconds() -> None:
    params = load("synthesis", SynthesisParams).words
    voices = params.voices.male + params.voices.female
    slowest = [say(word, voice, min(params.speeds_wpm), 40) for voice in voices[::5] for word in params.words]
    assert max(len(wave) for wave in slowest) <= 0.61 * RATE
    assert all(-40 < rms_dbfs(wave) < -10 and np.abs(wave).max() < 1.0 for wave in slowest)


def test_speech_and_babble_share_no_voice() -> None:
    params = load("synthesis", SynthesisParams)
    spoken = {voice.partition("+")[2] for voice in params.words.voices.male + params.words.voices.female}
    assert spoken.isdisjoint(voice.partition("+")[2] for voice in params.noise.babble.voices)


@pytest.mark.parametrize("voice", ["gmw/en-US+nobody", "gmw/en-XX+m3", "nobody"])
def test_an_unknown_voice_is_the_users_mistake(voice: str) -> None:
    with pytest.raises(UserError, match="espeak-ng has no voice"):
        say("apple", voice)


def test_trim_keeps_the_sound_and_drops_the_silence() -> None:
    sound = np.sin(np.arange(RATE // 4) * 0.3).astype(np.float32)
    silence = np.zeros(RATE, np.float32)
    trimmed = trim(np.concatenate([silence, sound, silence]))
    assert len(sound) <= len(trimmed) <= len(sound) + 0.04 * RATE
    assert np.isclose(np.sum(trimmed**2), np.sum(sound**2))


def test_a_shard_holds_each_word_once_and_the_same_bytes_twice(tmp_path: Path) -> None:
    params = WordsParams(words=["apple", "dog"], voices=Voices(male=[VOICE], female=[]), speeds_wpm=[170, 215], pitches=[40])
    path, again = tmp_path / "a.parquet", tmp_path / "b.parquet"
    assert write_words((path, VOICE, "male", params)) == 4
    write_words((again, VOICE, "male", params))
    assert path.read_bytes() == again.read_bytes()
    keys = [row["audio"]["path"] for row in read_rows(path)]
    assert keys == ["en-US_m3/apple-170-40", "en-US_m3/apple-215-40", "en-US_m3/dog-170-40", "en-US_m3/dog-215-40"]
    assert speaker_name(VOICE) == "en-US_m3"
