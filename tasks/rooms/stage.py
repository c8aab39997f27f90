"""The rooms stage: simulated rooms and the catalogued measured responses, one Parquet file a split and source."""

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.catalog.audio import load_clips
from tasks.common.audio import RATE
from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.seeds import content_id
from tasks.common.tables import prune, read_rows, write_parquet
from tasks.rooms.measure import aligned, measure
from tasks.rooms.params import RoomsParams
from tasks.rooms.simulate import RECIPE, recipe, simulated_row, trimmed

CATALOG = Path("data/catalog/rooms.parquet")
ROOMS = Path("data/rooms")
SHARD = 64  # rooms a job: some seconds of image sources
SCHEMA = pa.schema(
    [
        ("room_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("rt60_asked_s", pa.float64()),
        ("rt60_s", pa.float64()),
        ("c50_db", pa.float64()),
        ("dims_m", pa.list_(pa.float64())),
        ("rir", pa.list_(pa.float32())),
        ("sampling_rate", pa.int32()),
        ("licence", pa.string()),
        ("metadata", pa.string()),
    ]
)
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def simulate_shard(rooms: list[Row]) -> list[Row]:
    """Rows of some recipes."""
    return [simulated_row(room) for room in rooms]


def measured_id(clip_id: str) -> str:
    """Id of a measured response as a room: its clip and the version of what is done to it here."""
    return content_id(["measured", RECIPE, clip_id])


def measured_row(clip: Row, rir: Any) -> Row:
    """A row of data/rooms from a catalogued response (frames,) at 16 kHz; raises ValueError where it is silent."""
    response = aligned(rir)
    decay = measure(response)
    return {
        "room_id": measured_id(clip["clip_id"]),
        "source": "measured",
        "split": clip["split"],
        "rt60_asked_s": None,
        "rt60_s": decay.rt60_s,
        "c50_db": decay.c50_db,
        "dims_m": None,
        "rir": trimmed(response),
        "sampling_rate": RATE,
        "licence": clip["licence"],
        "metadata": json.dumps({"clip_id": clip["clip_id"], "path": clip["path"], "fit": decay.fit}, sort_keys=True),
    }


def measure_shard(clips: list[Row]) -> list[Row]:
    """Rows of some catalogued responses; one that cannot be used is left out, and the stage says which."""
    waves = load_clips(clips)
    rows = []
    for clip in clips:
        try:
            rows.append(measured_row(clip, waves[clip["clip_id"]]))
        except ValueError as error:
            log.warning("rooms: %s is left out: %s", clip["path"], error)
    return rows


def shards(rows: list[Row]) -> list[list[Row]]:
    return [rows[start : start + SHARD] for start in range(0, len(rows), SHARD)]


def run(fan_out: FanOut) -> Counts:
    """Write data/rooms; a room whose recipe (or clip) is unchanged is taken from the earlier file."""
    params = load("rooms", RoomsParams)
    clips = read_rows(CATALOG, ["clip_id", "path", "sha256", "sampling_rate", "split", "licence", "metadata"])
    recipes = [recipe(split, index, params) for split, count in params.simulated for index in range(count)]
    wanted = {content_id(room) for room in recipes} | {measured_id(clip["clip_id"]) for clip in clips}
    earlier = read_rows(ROOMS) if any(ROOMS.glob("*.parquet")) else []
    kept = [row for row in earlier if row["room_id"] in wanted]
    have = {row["room_id"] for row in kept}

    missing = [room for room in recipes if content_id(room) not in have]
    unheard = [clip for clip in clips if measured_id(clip["clip_id"]) not in have]
    made = [row for rows in fan_out(simulate_shard, shards(missing), "simulated rooms") for row in rows] if missing else []
    made += [row for rows in fan_out(measure_shard, shards(unheard), "measured rooms") for row in rows] if unheard else []

    files: dict[str, list[Row]] = defaultdict(list)
    for row in sorted([*kept, *made], key=lambda row: row["room_id"]):
        files[f"{row['split']}-{row['source']}.parquet"].append(row)
    for name, rows in files.items():
        write_parquet(ROOMS / name, rows, SCHEMA)
    ROOMS.mkdir(parents=True, exist_ok=True)
    prune(ROOMS, set(files))

    asked = [row for rows in files.values() for row in rows if row["rt60_asked_s"] and row["rt60_s"]]
    if asked:
        off = [abs(row["rt60_s"] / row["rt60_asked_s"] - 1) for row in asked]
        sabine = [abs((json.loads(row["metadata"])["rt60_sabine_s"] or np.nan) / row["rt60_asked_s"] - 1) for row in asked]
        log.info(
            "rooms: RT60 off by %.1f %% at the median, %.1f %% at most (uncorrected %.0f %%, %.0f %%)",
            *(100 * float(value) for value in (np.median(off), max(off), np.nanmedian(sabine), np.nanmax(sabine))),
        )
    return Counts(done={"rooms": len(made)}, reused={"rooms": len(kept)})
