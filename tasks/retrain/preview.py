"""python -m tasks.retrain.preview FILE: the plan of the mix stage as it would be now, written to FILE; renders nothing.

FILE gets a row a mixture: `mixture_id`, `recipe_hash`, `split`, `kind`, `noise_type`, `snr_db`, and `shard`, the file that would hold it.
"""

import sys
from pathlib import Path

import pyarrow as pa

from tasks.common.cli import guarded
from tasks.common.params import load
from tasks.common.tables import parquet_writer
from tasks.mix.params import MixParams
from tasks.mix.plan import PLAN
from tasks.mix.shards import shards_of
from tasks.mix.stage import planned

COLUMNS = ["mixture_id", "recipe_hash", "split", "kind", "noise_type", "snr_db"]
SCHEMA = pa.schema([*(PLAN.field(name) for name in COLUMNS), ("shard", pa.string())])
TOGETHER = 128  # shards in a row group


def write_preview(path: Path) -> None:
    """The plan with the shard of every mixture, written as it is cut: a plan of any size is held once."""
    params = load("mix", MixParams)
    shards = shards_of(planned(params), params.shard_mixtures, params.device)
    with parquet_writer(path, SCHEMA, compression="zstd") as file:
        for start in range(0, len(shards), TOGETHER):
            parts = [(shard.path.name, shard.rows(COLUMNS)) for shard in shards[start : start + TOGETHER]]
            file.write_table(pa.concat_tables([rows.append_column("shard", pa.repeat(name, len(rows))) for name, rows in parts]))


if __name__ == "__main__":
    guarded(lambda: write_preview(Path(sys.argv[1])))
