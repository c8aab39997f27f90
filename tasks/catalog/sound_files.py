"""Sound files read to their end: whole, or as stretches of a long recording; and whether they are what they claim to be."""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile as sf

from tasks.catalog.found import BadFileError, Samples

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64", ".sph")
SEEKABLE = {"WAV", "WAVEX", "RF64", "FLAC", "AIFF", "AU", "W64"}  # a seek in them is exact to the sample
BLOCK = 1 << 18


def open_sound(path: Path) -> sf.SoundFile:
    """The file, opened; raises BadFileError with the reason `bad_path`, `empty`, `unreadable` or `truncated`."""
    if not path.is_file():
        raise BadFileError("bad_path", "no such file" if not path.exists() else "not a regular file")
    try:
        if path.stat().st_size == 0:
            raise BadFileError("empty", "0 bytes")
        missing = missing_bytes(path)
        if missing:
            raise BadFileError("truncated", missing)
        sound = sf.SoundFile(path)
    except (sf.LibsndfileError, OSError) as error:
        raise BadFileError("unreadable", str(getattr(error, "error_string", error))) from None
    if sound.frames == 0:
        raise BadFileError("empty", "0 frames")
    return sound


def read_stretches(path: Path, stretches: Sequence[tuple[int, int]]) -> Iterator[Samples]:
    """Samples (frames, channels) float32 of ascending (start, end) frame ranges, read forwards, one in memory at a time.

    Compressed formats are decoded from the start, because a seek in them is not exact everywhere. Raises BadFileError
    where the file does not decode that far.
    """
    with open_sound(path) as sound:
        for start, end in stretches:
            try:
                if sound.format in SEEKABLE:
                    sound.seek(start)
                while sound.tell() < start:
                    if len(sound.read(min(BLOCK, start - sound.tell()), dtype="float32")) == 0:
                        break
                samples = sound.read(end - start, dtype="float32", always_2d=True)
            except (sf.LibsndfileError, RuntimeError) as error:
                raise BadFileError("unreadable", str(getattr(error, "error_string", error))) from None
            if len(samples) < end - start:
                raise BadFileError("truncated", f"decodes to {start + len(samples)} of {end} frames")
            yield np.ascontiguousarray(samples)


def missing_bytes(path: Path) -> str:
    """What a file's own header says is missing at its end, or "": libsndfile opens a truncated file without an error."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
            return _missing_chunk(file.fileno(), head, size)
        if head[:4] == b"OggS":
            return _missing_page(file.fileno(), size)
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
