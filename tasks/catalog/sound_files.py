"""Sound files read to their end: whole, or as stretches of a long recording; and whether they are what they claim to be."""

import os
import stat
import struct
from pathlib import Path

import numpy as np
import soundfile as sf

from tasks.catalog.found import BadFileError, Samples

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64", ".sph")
SEEKABLE = {"WAV", "WAVEX", "RF64", "FLAC", "AIFF", "AU", "W64"}  # a seek in them is exact to the sample
PLAIN = {"WAV", "WAVEX", "RF64", "AIFF", "AU", "W64"}  # samples as they are, not coded
BLOCK = 1 << 18


def open_sound(path: Path) -> sf.SoundFile:
    """The file, opened once; raises BadFileError with the reason `bad_path`, `empty`, `unreadable` or `truncated`."""
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
        missing = missing_bytes(descriptor, status.st_size)
        if missing:
            raise BadFileError("truncated", missing)
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


class SoundReader:
    """An open sound file that gives any stretch of it, the same samples whatever was read before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sound = open_sound(path)
        self.frames, self.rate = int(self.sound.frames), int(self.sound.samplerate)

    def __enter__(self) -> "SoundReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.sound.close()

    def read(self, start: int, end: int) -> Samples:
        """(frames, channels) float32 of a frame range; raises BadFileError where the file does not decode that far.

        Compressed formats are decoded from the start: a seek in them is not exact, and even one to the start of an MP3 changes its samples.
        """
        try:
            if self.sound.format in SEEKABLE:
                if start != self.sound.tell():
                    self.sound.seek(start)
            elif start < self.sound.tell():
                self.sound.close()
                self.sound = open_sound(self.path)
            while (ahead := start - self.sound.tell()) > 0:
                if len(self.sound.read(min(BLOCK, ahead), dtype="float32")) == 0:
                    break
            samples = self._next(end - start)
        except (sf.LibsndfileError, RuntimeError) as error:
            raise BadFileError("unreadable", str(getattr(error, "error_string", error))) from None
        if len(samples) < end - start:
            raise BadFileError("truncated", f"decodes to {start + len(samples)} of {end} frames")
        return samples

    def _next(self, frames: int) -> Samples:
        if self.sound.subtype == "PCM_16" and self.sound.format in PLAIN:
            # The same samples three times as fast: libsndfile converts one by one.
            return np.multiply(self.sound.read(frames, dtype="int16", always_2d=True), np.float32(2.0**-15), dtype=np.float32)
        samples: Samples = self.sound.read(frames, dtype="float32", always_2d=True)
        return samples


def missing_bytes(descriptor: int, size: int) -> str:
    """What an open file's own header says is missing at its end, or "": libsndfile opens a truncated file without an error."""
    head = os.pread(descriptor, 12, 0)
    if head[:4] in (b"RIFF", b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        return _missing_chunk(descriptor, head, size)
    if head[:4] == b"OggS":
        return _missing_page(descriptor, size)
    return ""


def _missing_chunk(descriptor: int, head: bytes, size: int) -> str:
    order = "<" if head[:4] == b"RIFF" else ">"
    at = 12
    while at + 8 <= size:
        name, length = struct.unpack(f"{order}4sI", os.pread(descriptor, 8, at))
        if name in (b"data", b"SSND"):
            # Writers that stream leave the length open, as 0 or all ones.
            open_ended = length in (0, 0xFFFFFFFF)
            return "" if open_ended or at + 8 + length <= size else f"the header declares {length} bytes of sound, {size - at - 8} are there"
        at += 8 + length + length % 2
    return "no chunk of sound before the end of the file"


def _missing_page(descriptor: int, size: int) -> str:
    tail = os.pread(descriptor, min(size, 1 << 17), max(0, size - (1 << 17)))
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return "no whole Ogg page at the end"
    lacing = tail[at + 27 : at + 27 + tail[at + 26]]
    whole = at + 27 + tail[at + 26] + sum(lacing) <= len(tail)
    return "" if whole and tail[at + 5] & 4 else "no end-of-stream page"
