"""Sound files as tools write them, and as they arrive: cut, padded, flipped, misnamed. Each says what the catalog makes of it.

An accepted one names what went in, and how near to that what comes out must be: to the bit where nothing is lost, else in dB.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from tasks.catalog.sound_headers import _checksum

Array = NDArray[np.float32]
RATE = 16_000
EXACT = float("inf")


@dataclass(frozen=True)
class Sound:
    """A file by name: what it is, its bytes, the reason it is refused for ("" accepted), what went in (frames, channels) and how near it is in dB."""

    name: str
    what: str
    data: bytes
    reason: str = ""
    went_in: Array | None = None
    near_db: float = EXACT
    rate: int = RATE


def tones(seed: int, seconds: float = 0.5, rate: int = RATE, bits: int = 16) -> Array:
    """(frames, 1): three tones below 3.5 kHz and a little noise, which no other seed gives, on the grid of so many bits."""
    rng, time = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    wave = sum(0.12 * np.sin(2 * np.pi * (rng.uniform(200, 3500) * time + rng.uniform())) for _ in range(3))
    return (np.round((wave + rng.normal(0, 1e-3, len(time))) * 2 ** (bits - 1)) / 2 ** (bits - 1)).astype(np.float32)[:, None]


def encoded(samples: NDArray[Any], form: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    """What libsndfile writes."""
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def flipped(data: bytes, at: int, bit: int = 3) -> bytes:
    """With one bit turned over."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def riff(*chunks: tuple[bytes, bytes], declared: int | None = None) -> bytes:
    """A RIFF file by hand; `declared` is the length that the last chunk claims."""
    body = b""
    for number, (name, data) in enumerate(chunks):
        length = declared if declared is not None and number == len(chunks) - 1 else len(data)
        body += name + struct.pack("<I", length) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", min(4 + len(body), 0xFFFFFFFF)) + b"WAVE" + body


def fmt(tag: int, bits: int, channels: int = 1, rate: int = RATE) -> tuple[bytes, bytes]:
    """A format chunk."""
    block = channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * block & 0xFFFFFFFF, block, bits)


def pcm(samples: Array) -> bytes:
    """16-bit little-endian."""
    return np.round(samples * 32768).astype("<i2").tobytes()


def mu_law(codes: NDArray[np.uint8]) -> Array:
    """ITU-T G.711: sign, exponent and mantissa of the inverted code, 14 bits, to (frames, 1)."""
    inverted = ~codes
    exponent, mantissa = (inverted >> 4 & 7).astype(int), (inverted & 15).astype(int)
    return (np.where(inverted & 128, -1, 1) * (((2 * mantissa + 33) << exponent) - 33) * 4 / 32768).astype(np.float32)[:, None]


def a_law(codes: NDArray[np.uint8]) -> Array:
    """ITU-T G.711: even bits inverted, 13 bits, to (frames, 1)."""
    even = codes ^ 0x55
    exponent, mantissa = (even >> 4 & 7).astype(int), (even & 15).astype(int)
    size = np.where(exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent - 1, 0))
    return (np.where(even & 128, 1, -1) * size * 8 / 32768).astype(np.float32)[:, None]


def pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    found, at = [], 0
    while at < len(data):
        end = at + 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        found.append(data[at:end])
        at = end
    return found


def resealed(page: bytes) -> bytes:
    """An Ogg page with the checksum that fits it."""
    return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def opus_made_at(rate: int, data: bytes) -> bytes:
    """An Opus file whose header names the rate of the recording it was made of, as opusenc writes it; it decodes at 48 kHz all the same."""
    head, *rest = pages(data)
    at = head.index(b"OpusHead") + 12
    return resealed(head[:at] + struct.pack("<I", rate) + head[at + 4 :]) + b"".join(rest)


def id3(data: bytes) -> bytes:
    """Behind an ID3v2.3 tag with a title and a picture."""
    picture = b"APIC" + struct.pack(">IH", 20_015, 0) + b"\0image/png\0\3\0\0" + b"\x89PNG" + bytes(19_996)
    frames = b"TIT2" + struct.pack(">IH", 6, 0) + b"\0title" + picture
    size = len(frames)
    return b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + frames + data


def _lossless() -> list[Sound]:
    sounds = []
    forms = [
        ("u8.wav", "8-bit WAV", "WAV", "PCM_U8", 8),
        ("s24.wav", "24-bit WAV", "WAV", "PCM_24", 24),
        ("s32.wav", "32-bit WAV", "WAV", "PCM_32", 24),
        ("f32.wav", "32-bit float WAV", "WAV", "FLOAT", 24),
        ("f64.wav", "64-bit float WAV", "WAV", "DOUBLE", 24),
        ("rf64.wav", "RF64", "RF64", "PCM_16", 16),
        ("wave64.w64", "Wave64", "W64", "PCM_24", 24),
        ("aiff.aiff", "AIFF", "AIFF", "PCM_16", 16),
        ("aifc.aifc", "AIFF-C of floats", "AIFF", "FLOAT", 24),
        ("core.caf", "Core Audio", "CAF", "PCM_16", 16),
        ("alac.caf", "Apple Lossless in Core Audio", "CAF", "ALAC_16", 16),
        ("sphere.wav", "SPHERE named .wav, as the LDC ships it", "NIST", "PCM_16", 16),
        ("s24.flac", "24-bit FLAC", "FLAC", "PCM_24", 24),
    ]
    for seed, (name, what, form, subtype, bits) in enumerate(forms, start=100):
        went_in = tones(seed, bits=bits)
        sounds.append(Sound(name, what, encoded(went_in, form, subtype), went_in=went_in))
    extensible = np.concatenate([tones(150 + channel) for channel in range(2)], axis=1)
    sounds.append(Sound("extensible.wav", "WAVE_FORMAT_EXTENSIBLE, stereo", encoded(extensible, "WAVEX", "PCM_16"), went_in=extensible))
    eight = np.concatenate([tones(160 + channel) for channel in range(8)], axis=1)
    sounds.append(Sound("eight.wav", "8 channels: their mean", encoded(eight, "WAVEX", "PCM_16"), went_in=eight))
    return sounds


def _padded() -> list[Sound]:
    made = [tones(seed) for seed in range(200, 212)]
    head = fmt(1, 16)
    listed = riff((b"JUNK", bytes(29)), head, (b"LIST", b"INFOISFT\5\0\0\0tool\0\0"), (b"data", pcm(made[2])))
    flac = encoded(made[9], "FLAC", "PCM_16")
    return [
        Sound("padded.wav", "WAV with 4 KiB of zeros behind", riff(head, (b"data", pcm(made[0]))) + bytes(4096), went_in=made[0]),
        Sound("trailer.wav", "WAV with a chunk of text behind the sound", riff(head, (b"data", pcm(made[1])), (b"LIST", b"INFO")), went_in=made[1]),
        Sound("listed.wav", "WAV with odd chunks before the sound", listed, went_in=made[2]),
        Sound("behind.wav", "WAV that declares less sound than is there: what is declared", _short(head, made[3]), went_in=made[3][:6000]),
        Sound(
            "piped.wav",
            "WAV of SoX or eSpeak through a pipe, length 0x7FFFF000",
            riff(head, (b"data", pcm(made[4])), declared=0x7FFFF000),
            went_in=made[4],
        ),
        Sound("padded.w64", "Wave64 with a chunk behind the sound", encoded(made[5], "W64", "PCM_16") + b"not sound" * 99, went_in=made[5]),
        Sound("padded.sph", "SPHERE with zeros behind", encoded(made[6], "NIST", "PCM_16") + bytes(1000), went_in=made[6]),
        Sound("padded.au", "AU with text behind", encoded(made[7], "AU", "PCM_16") + b"not sound" * 99, went_in=made[7]),
        Sound("odd.wav", "16-bit WAV with half a sample at its end", riff(head, (b"data", pcm(made[8]) + b"\7")), went_in=made[8]),
        Sound("tagged.flac", "FLAC behind an ID3 tag", id3(flac), went_in=made[9]),
        Sound("padded.flac", "FLAC with zeros behind", encoded(made[10], "FLAC", "PCM_16") + bytes(999), went_in=made[10]),
    ]


def _short(head: tuple[bytes, bytes], samples: Array) -> bytes:
    data = riff(head, (b"data", pcm(samples)))
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", 12_000) + data[at + 4 :]


def _coded() -> list[Sound]:
    codes = np.concatenate([np.arange(256), np.random.default_rng(1).integers(0, 256, 7744)]).astype(np.uint8)
    made = [tones(seed) for seed in range(300, 320)]
    wide = tones(340, rate=192_000)
    low = tones(341, rate=8_000)
    mp3 = encoded(made[2], "MP3")
    return [
        Sound("mulaw.wav", "mu-law WAV, all 256 codes", riff(fmt(7, 8), (b"data", codes.tobytes())), went_in=mu_law(codes)),
        Sound("alaw.wav", "A-law WAV, all 256 codes", riff(fmt(6, 8), (b"data", codes.tobytes())), went_in=a_law(codes)),
        Sound("ima.wav", "IMA ADPCM; its last block is played to its end", encoded(made[0], "WAV", "IMA_ADPCM"), went_in=made[0], near_db=20),
        Sound("ms.wav", "Microsoft ADPCM; the same", encoded(made[1], "WAV", "MS_ADPCM"), went_in=made[1], near_db=12),
        Sound("gsm.wav", "GSM 6.10 in WAV, 8 kHz", encoded(low, "WAV", "GSM610", 8_000), went_in=low, near_db=5, rate=8_000),
        Sound("art.mp3", "MP3 behind an ID3 tag with a picture", id3(mp3), went_in=made[2], near_db=20),
        Sound("tail.mp3", "MP3 with an ID3v1 tag at its end", encoded(made[3], "MP3") + b"TAG" + bytes(125), went_in=made[3], near_db=20),
        Sound("vorbis.ogg", "Vorbis", encoded(made[4], "OGG", "VORBIS"), went_in=made[4], near_db=12),
        Sound("padded.ogg", "Vorbis with zeros behind", encoded(made[5], "OGG", "VORBIS") + bytes(5000), went_in=made[5], near_db=12),
        Sound("opus.opus", "Opus", encoded(made[6], "OGG", "OPUS"), went_in=made[6], near_db=15),
        Sound("wide.wav", "192 kHz", encoded(wide, "WAV", "PCM_16", 192_000), went_in=wide, rate=192_000),
    ]


def _broken() -> list[Sound]:
    wave = tones(400, 1.0)
    cut = [
        ("wav", "WAV", "PCM_16", "WAV", "truncated"),
        ("w64", "W64", "PCM_16", "Wave64", "truncated"),
        ("rf64", "RF64", "PCM_16", "RF64", "truncated"),
        ("aiff", "AIFF", "PCM_16", "AIFF", "truncated"),
        ("au", "AU", "PCM_16", "AU", "truncated"),
        ("caf", "CAF", "PCM_16", "Core Audio", "truncated"),
        ("sph", "NIST", "PCM_16", "SPHERE", "truncated"),
        ("mp3", "MP3", None, "MP3", "truncated"),
        ("ogg", "OGG", "VORBIS", "Vorbis", "truncated"),
        ("opus", "OGG", "OPUS", "Opus", "truncated"),
        ("flac", "FLAC", "PCM_16", "FLAC", "unreadable"),
    ]
    sounds = []
    for suffix, form, subtype, what, reason in cut:
        data = encoded(wave, form, subtype)
        sounds.append(Sound(f"cut.{suffix}", f"{what} cut off near its end", data[: int(0.98 * len(data))], reason))
    flac, vorbis, opus = encoded(wave, "FLAC", "PCM_16"), encoded(tones(401, 3.0), "OGG", "VORBIS"), encoded(tones(402, 3.0), "OGG", "OPUS")
    first, second, *rest = pages(vorbis)
    return [
        *sounds,
        Sound("flipped.flac", "FLAC with one bit flipped", flipped(flac, len(flac) // 2), "unreadable"),
        Sound("flipped.ogg", "Vorbis with one bit flipped", flipped(vorbis, 2 * len(vorbis) // 3), "unreadable"),
        Sound("flipped.opus", "Opus with one bit flipped", flipped(opus, 2 * len(opus) // 3), "unreadable"),
        Sound("hole.ogg", "Vorbis without one of its pages", b"".join([first, second, *rest[:1], *rest[2:]]), "truncated"),
        Sound("chained.ogg", "two Vorbis streams one behind the other", vorbis + encoded(tones(403), "OGG", "VORBIS"), "chained"),
        Sound("chained.opus", "two Opus streams one behind the other", opus + encoded(tones(404), "OGG", "OPUS"), "chained"),
        Sound("header.wav", "a header without sound", riff(fmt(1, 16), (b"data", b""), declared=64_000), "truncated"),
        Sound("zeros.wav", "RIFF, and 4 MB of zeros: a download that was never filled", b"RIFF\0\0\0\0WAVE" + bytes(4 << 20), "truncated"),
        Sound("none.wav", "0 samples", encoded(np.zeros((0, 1), np.float32), "WAV"), "empty"),
        Sound("bytes.wav", "0 bytes", b"", "empty"),
        Sound("one.wav", "1 sample", encoded(tones(405)[:1], "WAV"), "too_short"),
        Sound("channels.wav", "a header with 0 channels", riff(fmt(1, 16, 0), (b"data", pcm(wave))), "unreadable"),
        Sound("rate0.wav", "a header with 0 Hz", riff(fmt(1, 16, 1, 0), (b"data", pcm(wave))), "unreadable"),
        Sound("rate1.wav", "a header with 44,101 Hz", riff(fmt(1, 16, 1, 44_101), (b"data", pcm(wave))), "odd_rate"),
        Sound("codec.wav", "WAV of a codec that nobody knows", riff(fmt(0x7777, 16), (b"data", pcm(wave))), "unreadable"),
        Sound("magic.wav", "nothing but 'RIFF'", b"RIFF", "unreadable"),
        Sound("html.wav", "a page of HTML", b"<!DOCTYPE html>\n<title>404</title>\n" * 9, "wrong_extension"),
        Sound("video.wav", "MP4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2" + bytes(99), "wrong_extension"),
        Sound("zipped.flac", "a ZIP", b"PK\3\4" + bytes(99), "wrong_extension"),
        Sound("flac.wav", "FLAC named .wav", flac, "wrong_extension"),
        Sound("noise.mp3", "random bytes named .mp3", bytes(np.random.default_rng(2).integers(0, 256, 9999, np.uint8)), "unreadable"),
    ]


def _strange() -> list[Sound]:
    made = [tones(seed) for seed in range(500, 510)]
    nan, inf, click = made[0].copy(), made[1].copy(), np.zeros((8000, 1), np.float32)
    nan[100], inf[200], click[4000] = np.nan, -np.inf, 1.0 - 2.0**-15
    loud = made[2] * np.float32(8.0)
    scaled = np.round(made[3] * 32768).astype(np.float32)
    opposite = np.concatenate([made[4], -made[4]], axis=1)
    return [
        Sound("nan.wav", "float WAV with a NaN", encoded(nan, "WAV", "FLOAT"), "not_finite"),
        Sound("inf.wav", "float WAV with an infinity", encoded(inf, "WAV", "FLOAT"), "not_finite"),
        Sound("loud.wav", "float WAV that peaks at +9 dBFS: levels are set later", encoded(loud, "WAV", "FLOAT"), went_in=loud),
        Sound("scaled.wav", "float WAV in the range of 16-bit integers", encoded(scaled, "WAV", "FLOAT"), went_in=scaled),
        Sound("huge.wav", "float WAV that peaks at 1e30", encoded(made[5] * np.float32(1e30), "WAV", "FLOAT"), "over_range"),
        Sound("constant.wav", "a constant", encoded(np.full((8000, 1), 0.3, np.float32), "WAV"), "silent"),
        Sound("click.wav", "one click", encoded(click, "WAV", "PCM_16"), went_in=click),
        Sound("opposite.wav", "stereo whose channels cancel", encoded(opposite, "WAV", "PCM_16"), "silent"),
    ]


def _odd_opus() -> list[Sound]:
    """Opus knows 8, 12, 16, 24 and 48 kHz; what was recorded at another rate decodes at one of those."""
    sounds = []
    for rate in (8_000, 11_025, 12_000, 24_000, 44_100, 96_000):
        wave = tones(600 + rate)
        data = opus_made_at(rate, encoded(wave, "OGG", "OPUS"))
        sounds.append(Sound(f"opus{rate}.opus", f"Opus made of a recording at {rate:,} Hz", data, went_in=wave, near_db=9))
    return sounds


SOUNDS = [*_lossless(), *_padded(), *_coded(), *_odd_opus(), *_broken(), *_strange()]
