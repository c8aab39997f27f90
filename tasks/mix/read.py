"""Reading mixtures, for the stages after this one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from tasks.common.audio import Wave, decode
from tasks.common.tables import read_rows
from tasks.mix.shards import MIXTURES, SCHEMA


def mixture_rows(columns: list[str] | None = None, filters: Any = None) -> list[dict[str, Any]]:
    """Rows of data/mixtures, without audio unless `columns` names it; `filters` as in `pyarrow.parquet.read_table`."""
    return read_rows(MIXTURES, columns or [name for name in SCHEMA.names if name != "audio"], filters)


def mixture_waves(rows: Iterable[Mapping[str, Any]]) -> dict[str, Wave]:
    """Samples (frames,) at 16 kHz by mixture id, of rows that hold `audio`."""
    return {row["mixture_id"]: decode(row["audio"]["bytes"])[0] for row in rows}


def waves_of(mixture_ids: Sequence[str]) -> dict[str, Wave]:
    """Samples (frames,) at 16 kHz of some mixtures; opens the row groups that hold them and no other.

    Raises:
        KeyError: data/mixtures holds no such mixture.
    """
    wanted = set(mixture_ids)
    waves: dict[str, Wave] = {}
    for path in sorted(MIXTURES.glob("*.parquet")):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, ["mixture_id"])["mixture_id"].to_pylist()
            here = [index for index, name in enumerate(names) if name in wanted]
            if here:
                waves |= mixture_waves(file.read_row_group(group, ["mixture_id", "audio"]).take(here).to_pylist())
    if missing := wanted - waves.keys():
        raise KeyError(f"data/mixtures holds no mixture {min(missing)} ({len(missing)} of {len(wanted)} are missing)")
    return waves
