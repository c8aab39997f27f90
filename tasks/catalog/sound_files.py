"""Sound files read to their end: whole, or as stretches of a long recording; and whether they are what they claim to be."""

import hashlib
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf

from tasks.catalog.found import BadFileError, Samples
from tasks.catalog.sound_headers import defect, flac_md5, sound_place

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64", ".sph")
SEEKABLE = {"WAV", "WAVEX", "RF64", "FLAC", "AIFF", "AU", "W64"}  # a seek in them is exact to the sample
PLAIN = {"WAV", "WAVEX", "RF64", "AIFF", "AU", "W64"}  # samples as they are, not coded
_WIDTHS = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1}  # bytes a sample
BLOCK = 1 << 18
MOST = 1 << 26  # samples that memory is taken for at once: a broken header may declare many more


def open_sound(path: Path) -> sf.SoundFile:
    """The file, opened once; raises BadFileError with the reason `bad_path`, `empty`, `unreadable`, `truncated` or `chained`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would block
    except OSError as error:
        raise BadFileError("unreadable" if isinstance(error, PermissionError) else "bad_path", str(error.strerror)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadFileError("bad_path", "not a regular file")
        if status.st_size == 0:
            raise BadFileError("empty", "0 bytes")
        found = defect(partial(_bytes_at, descriptor), status.st_size)
        if found:
            raise BadFileError(*found)
    except OSError as error:
        os.close(descriptor)
        raise BadFileError("unreadable", str(error.strerror)) from None
    except BadFileError:
        os.close(descriptor)
        raise
    try:
        sound = sf.SoundFile(descriptor)  # closes it, whether it can be opened or not
    except sf.LibsndfileError as error:
        raise BadFileError("unreadable", str(error.error_string)) from None
    if sound.frames == 0:
        sound.close()
        raise BadFileError("empty", "0 frames")
    return sound


def _bytes_at(descriptor: int, offset: int, count: int) -> bytes:
    return os.pread(descriptor, count, offset)


def decoded(sound: sf.SoundFile, frames: int, take: Callable[[bytes], None] | None = None) -> Samples:
    """The next (frames, channels) float32 of a file; `take` is given them as the bytes that a FLAC file's MD5 is made of."""
    if sound.subtype == "PCM_16" and (sound.format in PLAIN or take):
        # The same samples three times as fast: libsndfile converts one by one.
        pcm = sound.read(frames, dtype="int16", always_2d=True)
        if take:
            take(pcm.astype("<i2", copy=False).tobytes())
        return np.multiply(pcm, np.float32(2.0**-15), dtype=np.float32)
    if sound.subtype == "PCM_24" and take:
        pcm = sound.read(frames, dtype="int32", always_2d=True)
        take(pcm.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)[:, 1:].tobytes())
        return np.multiply(pcm, np.float32(2.0**-31), dtype=np.float32)
    samples: Samples = sound.read(frames, dtype="float32", always_2d=True)
    return samples


def md5_of(sound: sf.SoundFile, path: Path) -> bytes:
    """The MD5 of a FLAC file's samples, b"" where there is none or their width is unusual."""
    if sound.format != "FLAC" or sound.subtype not in ("PCM_16", "PCM_24"):
        return b""
    with path.open("rb") as file:
        return flac_md5(partial(_bytes_at, file.fileno()))


def frames_of(sound: sf.SoundFile, path: Path) -> int:
    """Frames of sound: libsndfile takes whatever follows it in a Wave64 or SPHERE file for more."""
    width = _WIDTHS.get(sound.subtype)
    if sound.format not in ("W64", "NIST") or width is None:
        return int(sound.frames)
    with path.open("rb") as file:
        place = sound_place(partial(_bytes_at, file.fileno()), path.stat().st_size)
    return int(sound.frames) if place is None else min(int(sound.frames), place[1] // (width * sound.channels))


class SoundReader:
    """An open sound file that gives any stretch of it, the same samples whatever was read before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sound = open_sound(path)
        self._at = 0  # counted here, because GSM in WAV cannot tell
        self.frames, self.rate = frames_of(self.sound, path), int(self.sound.samplerate)
        self._md5, self._hash, self._hashed = md5_of(self.sound, path), hashlib.md5(usedforsecurity=False), 0

    def __enter__(self) -> "SoundReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.sound.close()

    def read(self, start: int, end: int) -> Samples:
        """(frames, channels) float32 of a frame range; raises BadFileError where the file does not decode that far.

        Compressed formats are decoded from the start: a seek in them is not exact, and even one to the start of an MP3 changes its samples.
        """
        try:
            if start != self._at and self.sound.format in SEEKABLE and self.sound.seekable():
                self._at = self.sound.seek(start)
            elif start < self._at:
                self.sound.close()
                self.sound, self._at = open_sound(self.path), 0
            while self._at < start and len(passed := self.sound.read(min(BLOCK, start - self._at), dtype="float32")):
                self._at += len(passed)
            take = self._hash.update if self._md5 and self._hashed == start else None
            most = max(1, MOST // self.sound.channels)
            samples = decoded(self.sound, min(end - start, most), take)
            while len(samples) and len(samples) % most == 0 and len(samples) < end - start:
                samples = np.concatenate([samples, decoded(self.sound, min(end - start - len(samples), most), take)])
            self._at += len(samples)
            self._hashed += len(samples) if take else 0
        except (sf.LibsndfileError, RuntimeError) as error:
            raise BadFileError("unreadable", str(getattr(error, "error_string", error))) from None
        if len(samples) < end - start:
            raise BadFileError("truncated", f"decodes to {start + len(samples)} of {end} frames")
        if take and self._hashed == self.frames and self._hash.digest() != self._md5:
            raise BadFileError("unreadable", "its samples are not those that its MD5 was made of")
        return samples
