"""The sounds of a benchmark: read at any rate, looked at once, and put in noise at an SNR."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import soundfile as sf

from tasks.catalog.audio import bytes_at
from tasks.catalog.found import BadFileError, clip_id_of
from tasks.catalog.sound_files import SoundReader
from tasks.catalog.sound_headers import defect
from tasks.common.audio import RATE, Wave, active_power, decode, resample, rms_dbfs, to_mono
from tasks.common.seeds import rng_of
from tasks.evaluate.benchmark.items import Sound
from tasks.mix.render import mix

RECIPE = 1  # raise it when the same clip, noise and SNR would sound otherwise


@dataclass(frozen=True)
class Heard:
    """A sound that was looked at: the content id of its samples at 16 kHz and its length, or why it is of no use."""

    sound: Sound
    clip_id: str = ""
    seconds: float = 0.0
    reason: str = ""
    detail: str = ""


def load(sounds: Iterable[Sound]) -> dict[Sound, Wave | BadFileError]:
    """(frames,) at 16 kHz, mono, of each sound, or what is wrong with it; a shard is opened once."""
    waves: dict[Sound, Wave | BadFileError] = {}
    inside: dict[tuple[str, str], dict[int, Sound]] = defaultdict(dict)
    for sound in sounds:
        if sound.column:
            inside[sound.path, sound.column][sound.row] = sound
        else:
            waves[sound] = _from_file(sound)
    for (path, column), rows in inside.items():
        try:
            for row, data in bytes_at(Path(path), column, sorted(rows)):
                waves[rows[row]] = _from_bytes(data)
        except (pa.ArrowException, OSError) as error:
            unread = BadFileError("unreadable", f"the shard: {type(error).__name__}")
            waves |= {sound: unread for sound in rows.values() if sound not in waves}
    return waves


def _from_file(sound: Sound) -> Wave | BadFileError:
    if not sound.path:
        return BadFileError("missing_audio", "no such file beside the table")
    try:
        with SoundReader(Path(sound.path)) as reader:
            return resample(to_mono(reader.read(0, reader.frames)), reader.rate)
    except BadFileError as error:
        return error
    except (sf.SoundFileError, OSError) as error:
        return BadFileError("unreadable", str(error))


def _from_bytes(data: bytes | None) -> Wave | BadFileError:
    if not data:
        return BadFileError("missing_audio", "the shard holds no sound in this row")
    broken = defect(lambda offset, count: data[offset : offset + count], len(data))
    if broken:
        return BadFileError(*broken)
    try:
        return resample(*decode(data))
    except (sf.SoundFileError, RuntimeError, ValueError, MemoryError) as error:
        return BadFileError("unreadable", str(error))


def look(sounds: tuple[Sound, ...]) -> list[Heard]:
    """Each sound of a shard of work decoded once."""
    waves = load(sounds)
    return [_heard(sound, waves[sound]) for sound in sounds]


def _heard(sound: Sound, wave: Wave | BadFileError) -> Heard:
    if isinstance(wave, BadFileError):
        return Heard(sound, reason=wave.reason, detail=wave.detail)
    if active_power(wave) <= 0.0:
        return Heard(sound, reason="silent", detail="every sample is 0: there is no SNR")
    return Heard(sound, clip_id_of(wave, RATE), len(wave) / RATE)


def in_noise(wave: Wave, noise: Wave, clip_id: str, noise_id: str, snr_db: float, peak: float) -> Wave:
    """The clip in a stretch of the noise that both ids draw, (frames,), as loud as the clip alone unless that passes `peak`.

    The SNR is over the clip's active frames, as in `tasks.mix`. Raises ValueError where the noise is silent.
    """
    offset = float(rng_of("benchmark", clip_id, noise_id).random())
    return mix(wave, noise, snr_db=snr_db, offset=offset, level_dbfs=rms_dbfs(wave), peak=peak).wave
