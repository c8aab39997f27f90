"""Rows of the catalog, made of what the index knows of a file's bytes and what its name, its manifest and its entry say of it.

Nothing is decoded here: an edited label, transcript, licence or split changes rows alone.
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.catalog import index
from tasks.catalog.found import Fields, Refused, metadata_of
from tasks.catalog.owed import allowed
from tasks.catalog.params import Entry

_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int32()
_COMMON = {
    "path": _TEXT,
    "sha256": _TEXT,
    "sampling_rate": _COUNT,
    "duration_s": _NUMBER,
    "channels": _COUNT,
    "rms_dbfs": _NUMBER,
    "licence": _TEXT,
    "split": _TEXT,
}
_HEAD = {"clip_id": _TEXT, "corpus": _TEXT}
SCHEMAS = {
    "speech": pa.schema({**_HEAD, "kind": _TEXT, **_COMMON, "speaker": _TEXT, "text": _TEXT, "metadata": _TEXT}),
    "noise": pa.schema({**_HEAD, **_COMMON, "noise_type": _TEXT, "metadata": _TEXT}),
    "rooms": pa.schema({**_HEAD, **_COMMON, "metadata": _TEXT}),
}
TABLE = {"speech": "speech", "questions": "speech", "noise": "noise", "rooms": "rooms"}  # where a kind's rows go
QUARANTINE = pa.schema({"path": _TEXT, "corpus": _TEXT, "reason": _TEXT, "detail": _TEXT})

Row = dict[str, Any]
Place = tuple[int, int]


def rows_of(entry: Entry, allow: list[str]) -> Iterator[tuple[Row, Fields, Place] | Refused]:
    """Every recording of a corpus in the order of its paths: a row without its split, its fields and its place in its file; or a refusal."""
    every = "SELECT key, named, result FROM files LEFT JOIN outcomes ON id = outcome ORDER BY key"
    make = _maker(entry, allow)
    with index.opened(entry.kind, entry.corpus) as db:
        for key, named, result in db.execute(every):
            path = index.path_of(key)
            fields, cuts = json.loads(named)
            recordings, refusals = json.loads(result)
            if len(recordings) > 1:
                recordings.sort(key=lambda recording: recording[0])
            for recording in recordings:
                yield make(path, fields, cuts, recording)
            for suffix, reason, detail in refusals:
                yield Refused(path + suffix, reason, detail)


def _maker(entry: Entry, allow: list[str]) -> Any:
    """What turns one recording of a file into a row, the same for every file of the entry."""
    wanted: dict[str, tuple[str | None, ...]] = {"speech": (entry.text, entry.speaker), "noise": (entry.noise_type,)}
    needed = [field for field in wanted.get(entry.kind, ()) if field is not None]
    one_licence = "" if entry.licences or entry.licence_field else entry.licence

    def make(path: str, named: Fields, cuts: list[Any], recording: list[Any]) -> tuple[Row, Fields, Place] | Refused:
        suffix, clip_id, sha256, rate, frames, channels, rms_dbfs, own, cut, *place = recording
        fields = {**named, **(cuts[cut][2] if cut >= 0 else {}), **own}
        missing = [field for field in needed if not entry.label(fields, field)]
        if missing:
            return Refused(path + suffix, "no_label", f"no {missing[0]}")
        licence = one_licence or entry.licence_of(fields, path)
        if not licence:
            return Refused(path + suffix, "licence", f"'{fields.get(entry.licence_field or '', '')}' is no known licence")
        if allow and not allowed(licence, allow):
            return Refused(path + suffix, "licence", f"{licence} is not in catalog.allow_licences")
        row: Row = {
            "clip_id": clip_id,
            "corpus": entry.corpus,
            "path": f"{entry.root}/{path}{suffix}",
            "sha256": sha256,
            "sampling_rate": rate,
            "duration_s": frames / rate,
            "channels": channels,
            "rms_dbfs": rms_dbfs,
            "licence": licence,
            "split": None,
            "metadata": metadata_of(fields),
        }
        if TABLE[entry.kind] == "speech":
            row["kind"] = entry.unit or "utterance"
            row["speaker"] = entry.label(fields, entry.speaker)
            row["text"] = " ".join(entry.label(fields, entry.text).lower().split()) if entry.text else ""
        elif entry.kind == "noise":
            row["noise_type"] = entry.label(fields, entry.noise_type)
        return row, fields, (place[0], place[1])

    return make
