"""Shards of mixtures: named by what is in them, so one that is right is found by its name, and written a row group at a time.

A shard that changes keeps the encoded rows it shares with the earlier shards of its bucket; only new mixtures are rendered.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.catalog.audio import load_clips
from tasks.common.audio import RATE, Wave, encode_flac
from tasks.common.tables import AUDIO, publish, read_rows, temporary_name
from tasks.mix.render import mix

MIXTURES = Path("data/mixtures")
ROOMS = Path("data/rooms")
GROUP = 256  # mixtures in memory at a time, and in a row group
SCHEMA = pa.schema(
    [
        ("mixture_id", pa.string()),
        ("clip_id", pa.string()),
        ("noise_ids", pa.list_(pa.string())),
        ("noise_type", pa.string()),
        ("room_id", pa.string()),
        ("snr_db", pa.float64()),
        ("snr_db_measured", pa.float64()),
        ("corruption", pa.string()),
        ("level_dbfs", pa.float64()),
        ("recipe_hash", pa.string()),
        ("split", pa.string()),
        ("audio", AUDIO),
        ("sampling_rate", pa.int32()),
    ]
)
Row = dict[str, Any]
log = logging.getLogger("dinproof")


@dataclass(frozen=True)
class Shard:
    """A file of mixtures: its rows of the plan, and the catalog rows of the clips they are made of."""

    prefix: str
    rows: list[Row]
    clips: dict[str, Row] = field(repr=False)

    @property
    def path(self) -> Path:
        """`<split>-<kind>-<bucket>-<hash>.parquet`; the hash is that of the recipes inside."""
        digest = hashlib.sha256("".join(sorted(row["recipe_hash"] for row in self.rows)).encode()).hexdigest()[:16]
        return MIXTURES / f"{self.prefix}-{digest}.parquet"


def shards_of(plan: Sequence[Row], clips: dict[str, Row], buckets: int) -> list[Shard]:
    """The plan in shards: noisy rows by the bucket of their noise clip, the others by that of their speech clip."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in plan:
        kind, owner = ("noise", row["noise_ids"][0]) if row["noise_ids"] else ("speech", row["clip_id"])
        grouped[f"{row['split']}-{kind}-{int(owner, 16) % buckets:04d}"].append(row)
    shards = []
    for prefix, rows in sorted(grouped.items()):
        rows.sort(key=lambda row: (row["noise_ids"], row["mixture_id"]))
        used = {clip for row in rows for clip in (row["clip_id"], *row["noise_ids"])}
        shards.append(Shard(prefix, rows, {clip: clips[clip] for clip in used}))
    return shards


class Earlier:
    """Rows of the earlier shards of a bucket, found by recipe hash and read a row group at a time."""

    def __init__(self, prefix: str) -> None:
        self.place: dict[str, tuple[Path, int]] = {}
        self.open: tuple[tuple[Path, int] | None, dict[str, Row]] = (None, {})
        for path in sorted(MIXTURES.glob(f"{prefix}-*.parquet")):
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                for name in file.read_row_group(group, ["recipe_hash"])["recipe_hash"].to_pylist():
                    self.place[name] = (path, group)

    def row(self, recipe_hash: str) -> Row:
        """The finished row of a recipe that is in `place`."""
        where = self.place[recipe_hash]
        if self.open[0] != where:
            rows = pq.ParquetFile(where[0]).read_row_group(where[1]).to_pylist()
            self.open = (where, {row["recipe_hash"]: row for row in rows})
        return self.open[1][recipe_hash]


def rendered(rows: Sequence[Row], clips: dict[str, Row], responses: dict[str, Wave]) -> Iterator[Row]:
    """Finished rows of a stretch of the plan; one whose speech or noise is silent is left out, and said so."""
    used = sorted({clip for row in rows for clip in (row["clip_id"], *row["noise_ids"])})
    waves = load_clips([clips[clip] for clip in used])
    for row in rows:
        noise = waves[row["noise_ids"][0]] if row["noise_ids"] else None
        level = {"level_dbfs": row["level_asked_dbfs"], "peak": row["peak"]} if row["level_asked_dbfs"] is not None else {}
        placed = {"snr_db": row["snr_db"], "offset": row["offset"]} if noise is not None else {}
        try:
            made = mix(waves[row["clip_id"]], noise, responses.get(row["room_id"]), **level, **placed)
        except ValueError as error:
            log.warning("mix: %s is left out: %s", " + ".join(clips[clip]["path"] for clip in (row["clip_id"], *row["noise_ids"])), error)
            continue
        audio = {"bytes": encode_flac(made.wave), "path": f"{row['mixture_id']}.flac"}
        measured = {"snr_db_measured": made.snr_db, "level_dbfs": made.level_dbfs, "audio": audio, "sampling_rate": RATE}
        yield {name: value for name, value in {**row, **measured}.items() if name in SCHEMA.names}


def room_responses(ids: set[str]) -> dict[str, Wave]:
    """Responses of rooms, by id."""
    if not ids:
        return {}
    rows = read_rows(ROOMS, ["room_id", "rir"], [("room_id", "in", ids)])
    return {row["room_id"]: np.array(row["rir"], dtype=np.float32) for row in rows}


def write_shard(shard: Shard) -> tuple[int, int]:
    """Render what is new, keep what is known, publish the file. Returns (rendered, kept)."""
    earlier = Earlier(shard.prefix)
    new = [row for row in shard.rows if row["recipe_hash"] not in earlier.place]
    responses = room_responses({row["room_id"] for row in new if row["room_id"]})
    final = shard.path
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(final)
    made = kept = 0
    with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for start in range(0, len(shard.rows), GROUP):
            group = shard.rows[start : start + GROUP]
            fresh = {
                row["recipe_hash"]: row for row in rendered([row for row in group if row["recipe_hash"] not in earlier.place], shard.clips, responses)
            }
            known = {row["recipe_hash"]: earlier.row(row["recipe_hash"]) for row in group if row["recipe_hash"] in earlier.place}
            rows = [{**fresh, **known}[row["recipe_hash"]] for row in group if row["recipe_hash"] in fresh or row["recipe_hash"] in known]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), row_group_size=GROUP)
            made, kept = made + len(fresh), kept + len(known)
    publish(temporary, final)
    return made, kept
