"""Whether a file is what its name says, and whether what was decoded is sound that can be used.

Each check gives a stable reason code. Thresholds hold off what ruins a mixture and let pass what real recordings are like.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tasks.catalog.found import Recording, Refused, Samples
from tasks.common.audio import RATE, to_mono

SILENCE = 1e-4  # -80 dBFS: a peak below it is the rounding of a 16-bit file, not a sound
# A constant 10 dB above the sound: nine tenths of the power that an SNR would be set by. The worst 4 s of 2,078 real recordings have it 3 dB below.
DC_OVER_SOUND = 10.0**0.5
FULL_SCALE = 0.98  # the largest sample of 8-bit mu-law; 16-bit ends at 0.99997
FLAT_SAMPLES = 3  # equal neighbours at full scale: two may be a rounded peak
# One sample in a hundred: heard as distortion throughout. Mastered music stays below; a full-scale sine of 10 Hz in 16 bits has 0.6 %.
CLIPPED_SHARE = 0.01

LOUDEST = 2.0**31  # floats in the range of 32-bit integers; levels are set later, but powers far beyond overflow
# 128 MB of filters: 44,056 Hz passes; 44,101 Hz would take 5 GB, and is a broken header.
MOST_STEPS = 1 << 24

# Reasons that say a file is damaged; the others follow from what an entry or a build asks for.
CHOICES = {"no_label", "licence", "duplicate", "too_short", "too_long"}

_RIFF, _OGG, _AIFF = {"RIFF", "RF64", "SPHERE"}, {"Ogg"}, {"AIFF"}  # the LDC ships SPHERE files named .wav
_ACCEPTED = {
    **{"wav": _RIFF, "rf64": _RIFF, "ogg": _OGG, "oga": _OGG, "opus": _OGG, "aif": _AIFF, "aiff": _AIFF, "aifc": _AIFF},
    **{"flac": {"FLAC", "ID3"}, "mp3": {"MPEG", "ID3"}, "au": {"AU"}, "caf": {"CAF"}, "w64": {"W64"}, "sph": {"SPHERE"}},
}
_MAGIC = (
    (b"RIFF", "RIFF"),
    (b"RIFX", "RIFF"),
    (b"RF64", "RF64"),
    (b"riff\x2e\x91\xcf\x11", "W64"),
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b"ID3", "ID3"),
    (b"FORM", "AIFF"),
    (b".snd", "AU"),
    (b"caff", "CAF"),
    (b"NIST_1A", "SPHERE"),
    (b"PAR1", "Parquet"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"\x89HDF", "HDF5"),
)


def wrong_extension(path: str, head: bytes) -> str:
    """What a sound file is instead of what its suffix says, from its first bytes; "" where it may be right or nobody can tell."""
    accepted = _ACCEPTED.get(path.rpartition(".")[2].lower())
    form = _form(head)
    return f"its first bytes are those of {form}" if accepted and form and form not in accepted else ""


def _form(head: bytes) -> str:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return "MP4"
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08 and head[1] & 0x06:
        return "MPEG"
    # A page of HTML or a Git LFS pointer in place of the sound.
    return "text" if len(head) >= 8 and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head) else ""


def check(recording: Recording, duration_s: tuple[float, float]) -> Refused | None:
    """Why a decoded recording is refused, or None."""
    samples, seconds = recording.samples, len(recording.samples) / recording.rate
    shortest, longest = duration_s
    if samples.size == 0:
        return Refused(recording.path, "empty", "0 frames")
    if not np.isfinite(samples).all():
        return Refused(recording.path, "not_finite", f"{int((~np.isfinite(samples)).sum())} samples are NaN or infinite")
    if np.abs(samples).max() > LOUDEST:
        return Refused(recording.path, "over_range", f"a peak of {float(np.abs(samples).max()):.3g}, where full scale is 1")
    if steps_between(recording.rate) > MOST_STEPS:
        return Refused(recording.path, "odd_rate", f"{recording.rate} Hz shares too small a divisor with {RATE} Hz to be resampled")
    if seconds < shortest:
        return Refused(recording.path, "too_short", f"{seconds:.3f} s, at least {shortest} s")
    if seconds > longest:
        return Refused(recording.path, "too_long", f"{seconds:.2f} s, at most {longest} s")
    mono = to_mono(samples)
    constant = float(mono.mean(dtype=np.float64))
    sound = mono - constant
    if np.abs(sound).max() < SILENCE:
        cancelled = samples.shape[1] > 1 and np.ptp(samples, axis=0).max() >= 2 * SILENCE
        return Refused(recording.path, "silent", "its channels cancel each other" if cancelled else "nothing above -80 dBFS but a constant")
    if abs(constant) > DC_OVER_SOUND * float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))):
        return Refused(recording.path, "dc_offset", f"a constant of {constant:.3f} holds over nine tenths of its power")
    clipped = clipped_share(samples)
    if clipped > CLIPPED_SHARE:
        return Refused(recording.path, "clipped", f"{100 * clipped:.1f} % of its samples lie in flat runs at full scale")
    return None


def steps_between(rate: int) -> int:
    """Filter weights, but for its width, that turn `rate` Hz into 16 kHz: one filter a phase, as long as the period of the two grids."""
    common = math.gcd(rate, RATE)
    return (rate // common) * (RATE // common)


def clipped_share(samples: Samples) -> float:
    """Share of the samples (frames, channels) in runs of three or more equal ones at full scale.

    Equal, because a loud low tone stays near full scale without being clipped. A lossy codec rounds flat tops, which are not found then.
    """
    if np.abs(samples).max() < FULL_SCALE:
        return 0.0
    return sum(_flat(channel) for channel in samples.T) / samples.size


def _flat(channel: NDArray[np.float32]) -> int:
    loud = np.abs(channel) >= FULL_SCALE
    ends = np.flatnonzero(np.diff(channel) != 0) + 1
    starts = np.concatenate([[0], ends])
    lengths = np.diff(np.concatenate([starts, [len(channel)]]))
    return int(lengths[loud[starts] & (lengths >= FLAT_SAMPLES)].sum())
