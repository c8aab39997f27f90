"""Catalogued responses as rooms: a row a channel, the channels (or SOFA receivers) of one measurement kept in step."""

import json
import logging
import re
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.catalog.audio import as_catalogued, load_clips
from tasks.catalog.sound_files import SoundReader
from tasks.common.audio import RATE, Wave, resample
from tasks.common.params import corpora_root
from tasks.common.seeds import content_id, file_sha256
from tasks.rooms.draw import RECIPE
from tasks.rooms.measure import DIRECT, aligned, direct_index, measure, trimmed

Row = dict[str, Any]
SOFA = re.compile(r".+\.sofa#(\d+)/(\d+)", re.S | re.I)
PLAIN = re.compile(r"[^#@]+")  # a sound file of its own, of which the channels can be taken apart
log = logging.getLogger("dinproof")


def position(clip: Row) -> tuple[int, int]:
    """Number of a catalogued response among the measurements and the receivers of its file."""
    match = SOFA.fullmatch(clip["path"])
    return (int(match[1]), int(match[2])) if match else (0, 0)


def arrays(clips: list[Row]) -> list[list[Row]]:
    """The clips grouped by measurement: the receivers of one are heard together."""

    def key(clip: Row) -> tuple[str, str, int]:
        return clip["split"], clip["sha256"], position(clip)[0]

    ordered = sorted(clips, key=lambda clip: (*key(clip), position(clip), clip["path"]))
    found: list[list[Row]] = []
    for _, group in groupby(ordered, key):
        members = list(group)
        found += [members] if SOFA.fullmatch(members[0]["path"]) else [[clip] for clip in members]
    return found


def channels(clip: Row) -> int:
    """Responses that a catalogued clip holds."""
    return int(clip["channels"]) if PLAIN.fullmatch(clip["path"]) else 1


def measured_ids(array: list[Row]) -> list[str]:
    """Ids of an array's responses: which were heard together, and the version of what is done to them here."""
    together = [clip["clip_id"] for clip in array]
    return [content_id(["measured", RECIPE, together, number, channel]) for number, clip in enumerate(array) for channel in range(channels(clip))]


def holders(array: list[Row]) -> list[Row]:
    """The clip that holds each of an array's responses, in the order of `measured_ids`."""
    return [clip for clip in array for _ in range(channels(clip))]


def relabelled(kept: pa.Table, found: list[list[Row]]) -> pa.Table:
    """Earlier rows with the split, licence and path that the catalog gives their clips now: none of these is heard."""
    now = {name: clip for array in found for name, clip in zip(measured_ids(array), holders(array), strict=True)}
    rows = kept.select(["room_id", "split", "licence", "metadata"]).to_pylist()
    for row in rows:
        if clip := now.get(row["room_id"]):
            metadata = json.loads(row["metadata"]) | {"clip_id": clip["clip_id"], "path": clip["path"]}
            row |= {"split": clip["split"], "licence": clip["licence"], "metadata": json.dumps(metadata, sort_keys=True)}
    for name in ("split", "licence", "metadata"):
        kept = kept.set_column(kept.column_names.index(name), name, pa.array([row[name] for row in rows], pa.string()))
    return kept


def heard(found: list[list[Row]]) -> list[list[Wave]]:
    """The responses (frames,) at 16 kHz of each array; a file that holds several of them is opened once."""
    waves = load_clips(clip for array in found for clip in array if channels(clip) == 1)
    return [[waves[clip["clip_id"]] for clip in array] if channels(array[0]) == 1 else apart(array[0]) for array in found]


def apart(clip: Row) -> list[Wave]:
    """The channels of a sound file, each (frames,) at 16 kHz."""
    file = corpora_root() / clip["path"]
    as_catalogued(file, file_sha256(file), clip["sha256"])
    with SoundReader(file) as sound:
        samples = sound.read(0, sound.frames)
    return [resample(np.ascontiguousarray(channel), clip["sampling_rate"]) for channel in samples.T]


def measured_rows(array: list[Row], waves: list[Wave]) -> list[Row]:
    """Rows of data/rooms from one array and its responses; raises ValueError where one is silent."""
    responses = aligned(waves)
    rows = []
    for number, (name, clip, rir) in enumerate(zip(measured_ids(array), holders(array), responses, strict=True)):
        decay = measure(rir, DIRECT if len(responses) == 1 else direct_index(rir))
        source, microphone = position(clip)
        rows.append(
            {
                "room_id": name,
                "place_id": content_id(["measured", clip["sha256"]]),
                "source": "measured",
                "split": clip["split"],
                "source_index": source,
                "microphone_index": microphone if len(array) > 1 or channels(clip) == 1 else number,
                "rt60_asked_s": None,
                "rt60_s": decay.rt60_s,
                "c50_db": decay.c50_db,
                "drr_db": decay.drr_db,
                "dims_m": None,
                "rir": trimmed(rir),
                "sampling_rate": RATE,
                "licence": clip["licence"],
                "metadata": json.dumps({"clip_id": clip["clip_id"], "path": clip["path"], "fit": decay.fit}, sort_keys=True),
            }
        )
    return rows


def measure_shard(found: list[list[Row]]) -> list[Row]:
    """Rows of some arrays; one that cannot be used is left out, and the log says which."""
    rows = []
    for array, waves in zip(found, heard(found), strict=True):
        try:
            rows += measured_rows(array, waves)
        except ValueError as error:
            log.warning("rooms: %s is left out: %s", array[0]["path"], error)
    return rows
