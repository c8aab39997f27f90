"""The rooms stage: simulated rooms and the catalogued measured responses, one Parquet file a split and source."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.seeds import content_id
from tasks.common.tables import prune, read_parquet, read_rows, read_schema, write_parquet
from tasks.common.versions import made_by
from tasks.rooms.draw import request
from tasks.rooms.measured import arrays, measure_shard, measured_ids, relabelled
from tasks.rooms.params import RoomsParams
from tasks.rooms.simulate import ACCEPTED, room_ids, simulated_rows

CATALOG = Path("data/catalog/rooms.parquet")
ROOMS = Path("data/rooms")
PARTS = Path("data/.parts/rooms")
SHARD = 32  # requests a job: some tenths of a second of image sources in a small room, seconds in a hall
SCHEMA = pa.schema(
    [
        ("room_id", pa.string()),
        ("place_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("source_index", pa.int32()),
        ("microphone_index", pa.int32()),
        ("rt60_asked_s", pa.float64()),
        ("rt60_s", pa.float64()),
        ("c50_db", pa.float64()),
        ("drr_db", pa.float64()),
        ("dims_m", pa.list_(pa.float64())),
        ("rir", pa.list_(pa.float32())),
        ("sampling_rate", pa.int32()),
        ("licence", pa.string()),
        ("metadata", pa.string()),
        ("made_by", pa.string()),
    ]
)
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def simulate_shard(asked: list[Row]) -> list[Row]:
    """Rows of some requests, on disk before they are returned: a killed run loses a shard a worker."""
    return _put_down([row for one in asked for row in simulated_rows(one)])


def hear_shard(found: list[Any]) -> list[Row]:
    """Rows of some measured arrays, on disk before they are returned."""
    return _put_down(measure_shard(found))


def _put_down(rows: list[Row]) -> list[Row]:
    made = made_by("tasks.rooms.stage")
    part = PARTS / f"{content_id([row['room_id'] for row in rows])}.parquet"
    write_parquet(part, [{**row, "made_by": made} for row in rows], SCHEMA)
    return rows


def shards(rows: list[Any]) -> list[list[Any]]:
    return [rows[start : start + SHARD] for start in range(0, len(rows), SHARD)]


def earlier(made: str) -> pa.Table:
    """The rooms that are there, of a killed run too, and were `made` by this code on these libraries; each once."""
    files = [path for folder in (ROOMS, PARTS) for path in sorted(folder.glob("*.parquet")) if read_schema(path).equals(SCHEMA)]
    every = pa.concat_tables([SCHEMA.empty_table(), *(read_parquet(path, filters=pc.field("made_by") == made) for path in files)])
    _, first = np.unique(np.array(every["room_id"].to_pylist(), str), return_index=True)
    return every.take(np.sort(first))


def report(table: pa.Table) -> None:
    """Say how well the simulated rooms ring as asked, and how many shoeboxes were drawn again for it."""
    rows = table.filter(pc.field("source") == "simulated").select(["place_id", "rt60_asked_s", "rt60_s", "metadata"]).to_pylist()
    if not rows:
        return
    off = np.array([abs(row["rt60_s"] / row["rt60_asked_s"] - 1) if row["rt60_s"] else np.inf for row in rows])
    again = {row["place_id"]: json.loads(row["metadata"])["attempts"] - 1 for row in rows}
    log.info(
        "rooms: RT60 off by %.1f %% at the median, %.1f %% at most, %.1f %% of the responses within %.0f %%; %d of %d shoeboxes drawn again",
        *(100 * float(value) for value in (np.median(off), off.max(), np.mean(off <= ACCEPTED), ACCEPTED)),
        sum(again.values()),
        len(again) + sum(again.values()),
    )


def run(fan_out: FanOut) -> Counts:
    """Write data/rooms; a room whose request (or clips), code and libraries are unchanged is taken from the earlier file."""
    params = load("rooms", RoomsParams)
    found = arrays(read_rows(CATALOG, ["clip_id", "path", "sha256", "sampling_rate", "channels", "split", "licence"]))
    asked = [request(split, index, params) for split, count in params.simulated for index in range(count)]
    ids = {content_id(one): room_ids(one) for one in asked}
    heard = [measured_ids(array) for array in found]
    before = earlier(made_by("tasks.rooms.stage"))
    have = set(before["room_id"].to_pylist())
    missing = [one for one in asked if not have.issuperset(ids[content_id(one)])]
    unheard = [array for array, names in zip(found, heard, strict=True) if not have.issuperset(names)]
    whole = [name for names in [*ids.values(), *heard] if have.issuperset(names) for name in names]
    kept = relabelled(before.filter(pc.is_in(before["room_id"], pa.array(whole, pa.string()))), found)
    made = [row for rows in fan_out(simulate_shard, shards(missing), "simulated rooms") for row in rows] if missing else []
    made += [row for rows in fan_out(hear_shard, shards(unheard), "measured rooms") for row in rows] if unheard else []

    # As one chunk of exactly this schema, so that reused rows are written as the same bytes as fresh ones.
    table = pa.concat_tables([kept.cast(SCHEMA), pa.Table.from_pylist(made, SCHEMA)]).sort_by("room_id")
    table = table.set_column(SCHEMA.get_field_index("made_by"), "made_by", pa.repeat(made_by("tasks.rooms.stage"), len(table)))
    names = set()
    for split, source in sorted({(row["split"], row["source"]) for row in table.select(["split", "source"]).to_pylist()}):
        names.add(f"{split}-{source}.parquet")
        part = table.filter((pc.field("split") == split) & (pc.field("source") == source))
        write_parquet(ROOMS / f"{split}-{source}.parquet", part.combine_chunks())
    ROOMS.mkdir(parents=True, exist_ok=True)
    prune(ROOMS, names)
    shutil.rmtree(PARTS, ignore_errors=True)
    report(table)
    return Counts(done={"rooms": len(made)}, reused={"rooms": len(kept)})
