"""Reading mixtures, for the stages after this one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.common.audio import Wave, decode
from tasks.common.checksums import CheckedFile
from tasks.common.tables import read_parquet, read_rows
from tasks.mix.finish import SCHEMA
from tasks.mix.manifest import MANIFEST
from tasks.mix.shards import MIXTURES


def mixture_rows(columns: list[str] | None = None, filters: Any = None) -> list[dict[str, Any]]:
    """Rows of data/mixtures, without audio unless `columns` names it; `filters` as in `pyarrow.parquet.read_table`."""
    return read_rows(MIXTURES, columns or [name for name in SCHEMA.names if name != "audio"], filters)


def mixture_waves(rows: Iterable[Mapping[str, Any]]) -> dict[str, Wave]:
    """Samples (frames,) at 16 kHz by mixture id, of rows that hold `audio`."""
    return {row["mixture_id"]: decode(row["audio"]["bytes"])[0] for row in rows}


def _shards_of(wanted: set[str]) -> dict[str, set[str]]:
    """Wanted mixtures by the shard that holds them, from the manifest; where there is none, every shard may hold any."""
    if not MANIFEST.exists():
        return {path.name: wanted for path in sorted(MIXTURES.glob("*.parquet"))}
    found: dict[str, set[str]] = defaultdict(set)
    listed = read_parquet(MANIFEST, ["mixture_id", "shard"], [("mixture_id", "in", wanted)])
    for name, shard in zip(listed["mixture_id"].to_pylist(), listed["shard"].to_pylist(), strict=True):
        found[shard].add(name)
    return found


def waves_of(mixture_ids: Sequence[str]) -> dict[str, Wave]:
    """Samples (frames,) at 16 kHz of some mixtures; opens the row groups that hold them and no other.

    Raises:
        KeyError: data/mixtures holds no such mixture.
    """
    wanted = set(mixture_ids)
    waves: dict[str, Wave] = {}
    for shard, here in _shards_of(wanted).items():
        with CheckedFile(MIXTURES / shard) as file:
            for group in range(file.num_row_groups):
                names = file.read_row_group(group, ["mixture_id"])["mixture_id"].to_pylist()
                rows = [index for index, name in enumerate(names) if name in here]
                if rows:
                    waves |= mixture_waves(file.read_row_group(group, ["mixture_id", "audio"]).take(rows).to_pylist())
    if missing := wanted - waves.keys():
        raise KeyError(f"data/mixtures holds no mixture {min(missing)} ({len(missing)} of {len(wanted)} are missing)")
    return waves
