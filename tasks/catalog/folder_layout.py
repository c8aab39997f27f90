"""Layout `folder`: files whose path says what they are, read whole, in stretches, or in the cuts that a manifest names."""

from collections.abc import Iterator
from pathlib import Path

from tasks.catalog.entry_keys import compiled
from tasks.catalog.files import listing
from tasks.catalog.found import Found, Recording, Refused
from tasks.catalog.params import Entry
from tasks.catalog.sound_files import SUFFIXES, SoundReader
from tasks.catalog.transcripts import transcripts

ROUNDING_S = 0.1  # manifests round their times; a cut may end that much after its file


def find(entry: Entry, root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Found | Refused]:
    """Files whose path below the root matches the entry's pattern; its named groups are their fields."""
    pattern, text_of = compiled(entry.pattern), transcripts(entry, root)
    skip = compiled(entry.skip) if entry.skip else None
    for file in listing(root, suffixes):
        if skip and skip.fullmatch(file.path):
            continue
        match = pattern.fullmatch(file.path)
        if isinstance(file, Refused):
            yield file
        elif match is None:
            yield Refused(file.path, "no_label", "its name does not match the pattern")
        else:
            groups = {key: value for key, value in match.groupdict().items() if value is not None}
            yield Found(*file, fields=groups | text_of(file.path, groups))


def read(entry: Entry, root: Path, found: Found) -> Iterator[Recording | Refused]:
    """The file as one recording, as its cuts, or as equal stretches of about `segment_s`: at least three, so that no split lacks the type."""
    longest = entry.duration_s[1]
    with SoundReader(root / found.path) as sound:
        frames, rate = sound.frames, sound.rate
        if found.cuts:
            yield from _cuts(found, sound, longest)
        elif frames > longest * rate:
            yield Refused(found.path, "too_long", f"{frames / rate:.2f} s, at most {longest} s")
        elif entry.segment_s is None:
            yield Recording(found.path, sound.read(0, frames), rate, found.sha256, found.fields)
        else:
            count = max(3, int(frames / (entry.segment_s * rate)))
            for index in range(count):
                start, end = frames * index // count, frames * (index + 1) // count
                yield Recording(f"{found.path}@{start}-{end}", sound.read(start, end), rate, found.sha256, found.fields, (index, count))


def _cuts(found: Found, sound: SoundReader, longest: float) -> Iterator[Recording | Refused]:
    frames, rate = sound.frames, sound.rate
    for index, cut in enumerate(found.cuts):
        start, end = round(cut.start_s * rate), frames if cut.end_s is None else round(cut.end_s * rate)
        if frames < end <= frames + ROUNDING_S * rate:
            end = frames
        path = f"{found.path}@{start}-{end}"
        if not 0 <= start < end <= frames:
            yield Refused(path, "bad_cut", f"the manifest cuts {start / rate:.2f} to {end / rate:.2f} s out of {frames / rate:.2f} s")
        elif end - start > longest * rate:
            yield Refused(path, "too_long", f"{(end - start) / rate:.2f} s, at most {longest} s")
        else:
            yield Recording(path, sound.read(start, end), rate, found.sha256, found.fields | cut.fields, (index, len(found.cuts)))
