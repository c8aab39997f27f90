"""The scan: every recording of a shard of files decoded, checked, measured and described, or refused with a reason."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.catalog import memo
from tasks.catalog.found import BadFileError, Fields, Found, Recording, Refused, clip_id_of
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry
from tasks.common.audio import rms_dbfs, to_mono
from tasks.common.seeds import content_id, file_sha256

SILENCE = 1e-4  # -80 dBFS: a peak below it is the rounding of a 16-bit file, not a sound
SHARD_FILES, SHARD_BYTES = 250, 64 << 20

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Files of one entry that one worker scans."""

    entry: Entry
    root: Path
    files: tuple[Found, ...]


@dataclass(frozen=True)
class Scan:
    """Rows (with `fields` and `place` for the split) and refusals in the order of the files; the memo they are kept in."""

    rows: list[Row]
    refused: list[Refused]
    memo_name: str
    reused: bool


def jobs_of(entry: Entry, root: Path, found: list[Found]) -> list[Job]:
    """Files in order, cut into shards of a few hundred files or some 64 MB.

    A shard may also end where the hash of a path says so: then a file that is added shifts the cuts of its neighbourhood only.
    """
    shards: list[list[Found]] = [[]]
    for one in found:
        shard = shards[-1]
        full = len(shard) >= SHARD_FILES or sum(file.size for file in shard) >= SHARD_BYTES
        cut = len(shard) >= SHARD_FILES // 4 and int(content_id(one.path), 16) % (SHARD_FILES // 4) == 0
        if full or cut:
            shards.append([])
        shards[-1].append(one)
    return [Job(entry, root, tuple(shard)) for shard in shards if shard]


def scan(job: Job) -> Scan:
    """What is in a shard of files, decoded now or read from an earlier scan of the same bytes."""
    files = [replace(found, sha256=_sha256(job.root / found.path)) for found in job.files]
    entry = job.entry.model_dump(mode="json", exclude={"split", "compose", "source", "citation"})
    name = memo.name_of(job.entry.corpus, [entry, [asdict(found) for found in files]])
    kept = memo.recall(name)
    if kept is not None:
        return Scan(kept["rows"], [Refused(**one) for one in kept["refused"]], name, True)
    rows: list[Row] = []
    refused: list[Refused] = []
    for found in files:
        some, bad = _scan_file(job, found)
        rows += some
        refused += bad
    memo.keep(name, {"rows": rows, "refused": [asdict(one) for one in refused]})
    return Scan(rows, refused, name, False)


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path) if path.is_file() else ""
    except OSError:
        return ""  # the decoder meets the same error and gives its reason


def _scan_file(job: Job, found: Found) -> tuple[list[Row], list[Refused]]:
    rows: list[Row] = []
    refused: list[Refused] = []
    recordings: Iterator[Recording | Refused] = LAYOUTS[job.entry.layout].read(job.entry, job.root, found)
    try:
        for recording in recordings:
            problem = recording if isinstance(recording, Refused) else check(job.entry, recording)
            if problem is not None:
                refused.append(problem)
            elif isinstance(recording, Recording):
                rows.append(describe(job.entry, found, recording))
    except BadFileError as error:
        # What was read before is not used either: of a broken file nobody knows the rest.
        return [], [*refused, Refused(found.path, error.reason, error.detail)]
    return rows, refused


def check(entry: Entry, recording: Recording) -> Refused | None:
    """Why a decoded recording is refused, or None."""
    samples, seconds = recording.samples, len(recording.samples) / recording.rate
    shortest, longest = entry.duration_s
    if samples.size == 0:
        return Refused(recording.path, "empty", "0 frames")
    if not np.isfinite(samples).all():
        return Refused(recording.path, "not_finite", f"{int((~np.isfinite(samples)).sum())} samples are NaN or infinite")
    if seconds < shortest:
        return Refused(recording.path, "too_short", f"{seconds:.3f} s, at least {shortest} s")
    if seconds > longest:
        return Refused(recording.path, "too_long", f"{seconds:.2f} s, at most {longest} s")
    mono = to_mono(samples)
    if np.abs(mono - mono.mean(dtype=np.float64)).max() < SILENCE:
        return Refused(recording.path, "silent", "nothing above -80 dBFS but a constant")
    wanted: dict[str, tuple[str | None, ...]] = {"speech": (entry.text, entry.speaker), "noise": (entry.noise_type,), "rooms": ()}
    missing = [field for field in wanted[entry.kind] if field is not None and not label(entry, recording.fields, field)]
    if missing:
        return Refused(recording.path, "no_label", f"no {missing[0]}")
    return None


def label(entry: Entry, fields: Fields, field: str) -> str:
    """A field's value, translated by the entry's labels where it has some; "" where there is none."""
    value = fields.get(field, "")
    return entry.labels[field].get(value, "") if field in entry.labels else value.strip()


def describe(entry: Entry, found: Found, recording: Recording) -> Row:
    """The row of a recording that passed, without its split."""
    samples, fields = recording.samples, recording.fields
    row: Row = {
        "clip_id": clip_id_of(samples, recording.rate),
        "corpus": entry.corpus,
        "path": f"{entry.root}/{recording.path}",
        "sha256": recording.sha256,
        "sampling_rate": recording.rate,
        "duration_s": len(samples) / recording.rate,
        "channels": samples.shape[1],
        "rms_dbfs": round(rms_dbfs(to_mono(samples)), 3),
        "licence": entry.licences.get(Path(found.path).stem, entry.licence),
        "metadata": json.dumps(fields, sort_keys=True, ensure_ascii=False),
        "fields": fields,
        "place": recording.place,
    }
    if entry.kind == "speech":
        assert entry.text is not None
        text = " ".join(label(entry, fields, entry.text).lower().split())
        row |= {"kind": entry.unit, "speaker": label(entry, fields, entry.speaker), "text": text}
    if entry.kind == "noise":
        row["noise_type"] = label(entry, fields, entry.noise_type)
    return row
