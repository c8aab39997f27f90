"""What is wrong with a sound file by its own headers and checksums, which libsndfile does not say.

It opens a truncated file without an error, drops an Ogg page that fails its checksum, plays the first of chained Ogg streams alone, and takes
what follows the sound of some forms for sound.
"""

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

Read = Callable[[int, int], bytes]  # (offset, count): the bytes there, fewer at the end
Defect = tuple[str, str]  # a reason code, and what was seen

_MOST_CHUNKS = 10_000  # a header followed by zeros is a file of empty chunks, as many as it is long
_BLOCK = 1 << 16
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FLAC_RATES = dict(enumerate((88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), start=1))
_BEGINS, _ENDS = 2, 4  # flags of an Ogg page


class _Form(NamedTuple):
    """A form made of chunks: where the first begins, how name and length of one are packed, and the name of the sound's."""

    first: int
    packed: str
    sound: bytes
    align: int = 2
    own: int = 0  # bytes of its own head that a chunk's length counts


_FORMS = {
    b"RIFF": _Form(12, "<4sI", b"data"),
    b"RIFX": _Form(12, ">4sI", b"data"),
    b"RF64": _Form(12, "<4sI", b"data"),
    b"FORM": _Form(12, ">4sI", b"SSND"),
    b"caff": _Form(8, ">4sq", b"data", 1),
    b"riff": _Form(40, "<16sQ", b"data", 8, 24),
}
_KINDS = {b"RIFF": (b"WAVE",), b"RIFX": (b"WAVE",), b"RF64": (b"WAVE",), b"FORM": (b"AIFF", b"AIFC")}


def defect(read: Read, size: int) -> Defect | None:
    """Why a file of `size` bytes is refused before it is decoded, `truncated`, `unreadable` or `chained`; None where nothing is seen."""
    magic = read(0, 4)
    if magic in _CHECKED:
        return _CHECKED[magic](read, size)
    try:
        place = sound_place(read, size)
    except LookupError as error:
        return "truncated", str(error.args[0])
    if place is not None and sum(place) > size:
        return "truncated", f"the header declares {place[1]} bytes of sound, {max(0, size - place[0])} are there"
    return None


def sound_place(read: Read, size: int) -> tuple[int, int] | None:
    """(offset, length) in bytes of the sound as the header declares it; None where it leaves the length open, or the form is another.

    Raises LookupError where a form made of chunks has none with sound.
    """
    head = read(0, 1024)
    if head[:4] == b".snd" and len(head) >= 12:
        start, length = struct.unpack(">II", head[4:12])
        return None if length == 0xFFFFFFFF else (start, length)
    if head[:7] == b"NIST_1A":
        return _sphere(head)
    form = _FORMS.get(head[:4])
    if form is None or len(head) < form.first or head[8:12] not in _KINDS.get(head[:4], (head[8:12],)):
        return None
    start, length = _chunk(read, size, form)
    if head[:4] == b"RF64" and length == 0xFFFFFFFF and head[12:16] == b"ds64" and len(head) >= 36:
        return start, struct.unpack("<Q", head[28:36])[0]
    # Writers that stream leave the length open: as 0, all ones, or (SoX, eSpeak, arecord) close below 2 GiB.
    return None if length in (0, 0xFFFFFFFF) or length < 0 or 0x7FFFEF00 <= length <= 0x80000000 else (start, length)


def _chunk(read: Read, size: int, form: _Form) -> tuple[int, int]:
    head, at = struct.calcsize(form.packed), form.first
    for _ in range(_MOST_CHUNKS):
        if at + head > size:
            break
        name, length = struct.unpack(form.packed, read(at, head))
        if name.startswith(form.sound):
            return at + head, length - form.own
        at += max(head, head - form.own + length)
        at += -at % form.align
    raise LookupError("no chunk of sound before the end of the file")


def _sphere(head: bytes) -> tuple[int, int] | None:
    """SPHERE's header is text; samples that are compressed are not as long as it says."""
    fields = dict(re.findall(rb"^(\w+) -[irs]\d* (\S+)", head, re.M))
    start = head[8:16].strip()
    counts = [fields.get(name, b"") for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if b"," in fields.get(b"sample_coding", b"") or not all(one.isdigit() and len(one) < 16 for one in (start, *counts)):
        return None
    samples, channels, width = map(int, counts)
    return int(start), samples * channels * width


def flac_md5(read: Read) -> bytes:
    """MD5 of the samples as a FLAC file's header says it (RFC 9639); b"" where it does not, or the form is another."""
    head = read(0, 42)
    return head[26:42] if head[:5] == b"fLaC\0" and any(head[26:42]) else b""


def _flac_defect(read: Read, size: int) -> Defect | None:
    """Frames carry a checksum, the header none: its rate is held against that of the first frame."""
    at, rate = 4, int.from_bytes(read(18, 3), "big") >> 4
    for _ in range(_MOST_CHUNKS):
        block = read(at, 4)
        at += 4 + int.from_bytes(block[1:], "big")
        if len(block) < 4 or at >= size:
            return "truncated", "no frame before the end of the file"
        if block[0] & 128:
            break
    frame = read(at, 3)
    said = _FLAC_RATES.get(frame[2] & 15, rate) if frame[:1] == b"\xff" and len(frame) == 3 else rate
    return None if said == rate else ("unreadable", f"its header says {rate} Hz, its first frame {said} Hz")


def _ogg_defect(read: Read, size: int) -> Defect | None:
    """Walks every page of an Ogg file (RFC 3533); what follows the last one is let pass."""
    at, flags, opening = 0, 0, True
    pages: dict[bytes, int] = {}
    while (at := _next_page(read, at, size)) >= 0:
        head = read(at, 27 + 255)
        lacing = head[27 : 27 + head[26]] if len(head) > 26 else b""
        page = read(at, 27 + len(lacing) + sum(lacing)) if lacing or len(head) > 26 else b""
        if len(head) < 27 or len(lacing) < head[26] or len(page) < 27 + len(lacing) + sum(lacing):
            return "truncated", "its last Ogg page is cut off"
        flags, stream, number = page[5], page[14:18], int.from_bytes(page[18:22], "little")
        if _checksum(page) != int.from_bytes(page[22:26], "little"):
            return "unreadable", f"the Ogg page at byte {at} fails its checksum"
        if flags & _BEGINS and not opening:
            return "chained", f"a second Ogg stream begins at byte {at}; decoders play the first alone"
        opening = bool(flags & _BEGINS)
        if number != pages.get(stream, number - 1) + 1:
            return "truncated", f"an Ogg page is missing before byte {at}"
        pages[stream] = number
        at += len(page)
    return None if flags & _ENDS else ("truncated", "no end-of-stream page")


def _next_page(read: Read, at: int, size: int) -> int:
    """Where the next page begins, -1 where none does."""
    while at < size:
        block = read(at, _BLOCK)
        found = block.find(b"OggS")
        if found >= 0:
            return at + found
        at += max(1, len(block) - 3)
    return -1


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32, that of zlib with the bits of every byte and of the result in the other order, from 0 and not inverted."""
    mirrored = (page[:22] + b"\0\0\0\0" + page[26:]).translate(_MIRROR)
    return int.from_bytes((zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4, "little").translate(_MIRROR), "big")


_CHECKED = {b"OggS": _ogg_defect, b"fLaC": _flac_defect}
