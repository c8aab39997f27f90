"""python -m tasks.mix.manifest: counts of the mixtures by split, noise, SNR and corruption, and what was achieved.

data/mixtures_manifest.parquet has a row a mixture: every column of data/mixtures but the audio, the `shard` that holds it, and the `licences` and
`corpora` of the speech, noises, voices and room it is made of. It is written after the shards, so a row stands for audio that is there; a changed
licence changes it and no shard.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.checksums import CheckedFile
from tasks.common.errors import UserError
from tasks.common.tables import checked, parquet_writer, read_parquet
from tasks.mix.finish import CATALOG, ROOMS, SCHEMA

MANIFEST = Path("data/mixtures_manifest.parquet")
GROUP = 1 << 12  # rows in memory at a time, and in a row group
COLUMNS = [name for name in SCHEMA.names if name != "audio"]
LISTS = pa.list_(pa.string())
MANIFEST_SCHEMA = pa.schema([*(SCHEMA.field(name) for name in COLUMNS), ("shard", pa.string()), ("licences", LISTS), ("corpora", LISTS)])
Owed = tuple[str | None, str | None]  # licence and corpus


class Sources:
    """Licence and corpus of every clip and room, found by id without a Python object for each."""

    def __init__(self) -> None:
        tables = [read_parquet(CATALOG / f"{kind}.parquet", ["clip_id", "licence", "corpus"]) for kind in ("speech", "noise")]
        if any(ROOMS.glob("*.parquet")):
            tables.append(_rooms())
        every = pa.concat_tables([table.rename_columns(["id", "licence", "corpus"]) for table in tables])
        self.ids = every["id"].combine_chunks()
        pairs = list(zip(every["licence"].to_pylist(), every["corpus"].to_pylist(), strict=True))
        self.owed: list[Owed] = sorted(set(pairs), key=str)
        code = {pair: number for number, pair in enumerate(self.owed)}
        self.codes = pa.array([code[pair] for pair in pairs], pa.int32())
        self.lists: dict[frozenset[int], tuple[list[str], list[str]]] = {}

    def codes_of(self, ids: pa.Array) -> list[int | None]:
        """A code for each id, None for null; an id that is in no table is a mistake, and raises KeyError."""
        found = pc.index_in(ids, self.ids)
        if found.null_count > ids.null_count:
            raise KeyError(f"{ids.filter(pc.and_(pc.is_null(found), pc.is_valid(ids)))[0]} is in no catalog")
        codes: list[int | None] = self.codes.take(found).to_pylist()
        return codes

    def owes(self, rows: pa.Table) -> tuple[list[list[str]], list[list[str]]]:
        """Sorted licences and corpora of each mixture."""
        parts = [self.codes_of(rows[name].combine_chunks()) for name in ("clip_id", "room_id")]
        found = [{code for code in codes if code is not None} for codes in zip(*parts, strict=True)]
        for name in ("noise_ids", "voice_ids"):
            column = rows[name].combine_chunks()
            parents = pc.list_parent_indices(column).to_pylist()
            for row, code in zip(parents, self.codes_of(column.flatten()), strict=True):
                if code is not None:
                    found[row].add(code)
        named = [self._named(frozenset(codes)) for codes in found]
        return [one for one, _ in named], [one for _, one in named]

    def _named(self, codes: frozenset[int]) -> tuple[list[str], list[str]]:
        if codes not in self.lists:
            owed = [self.owed[code] for code in codes]
            self.lists[codes] = (sorted({licence for licence, _ in owed if licence}), sorted({corpus for _, corpus in owed if corpus}))
        return self.lists[codes]


def _rooms() -> pa.Table:
    """Rooms as `room_id`, `licence`, `corpus`; a simulated room has no corpus."""
    rooms = read_parquet(ROOMS, ["room_id", "licence", "metadata"])
    catalog = read_parquet(CATALOG / "rooms.parquet", ["clip_id", "corpus"]) if (CATALOG / "rooms.parquet").exists() else None
    corpus_of = dict(zip(*(catalog[name].to_pylist() for name in ("clip_id", "corpus")), strict=True)) if catalog else {}
    clips = [json.loads(text or "{}").get("clip_id") for text in rooms["metadata"].to_pylist()]
    return rooms.drop_columns(["metadata"]).append_column("corpus", pa.array([corpus_of.get(clip) for clip in clips], pa.string()))


def _stretches(shards: Sequence[Path]) -> Iterator[pa.Table]:
    """Rows of the shards in order, `GROUP` at a time."""
    waiting: list[pa.Table] = []
    for path in shards:
        with CheckedFile(path) as file:
            table = file.read(COLUMNS, use_threads=False)
        waiting.append(table.append_column("shard", pa.array([path.name] * len(table), pa.string())))
        while sum(map(len, waiting)) >= GROUP:
            rows = pa.concat_tables(waiting)
            yield rows.slice(0, GROUP)
            waiting = [rows.slice(GROUP)]
    yield pa.concat_tables(waiting)


def write_manifest(shards: Sequence[Path]) -> int:
    """List the mixtures of some shards (complete files); returns how many there are."""
    for leftover in MANIFEST.parent.glob(f".{MANIFEST.name}.*.tmp"):  # of a killed run
        leftover.unlink()
    total = 0
    with parquet_writer(MANIFEST, MANIFEST_SCHEMA, compression="zstd") as file:
        sources = Sources() if shards else None
        for rows in _stretches(sorted(shards)) if sources else ():
            assert sources is not None
            licences, corpora = sources.owes(rows)
            full = rows.append_column("licences", pa.array(licences, LISTS)).append_column("corpora", pa.array(corpora, LISTS))
            file.write_table(full, row_group_size=GROUP)
            total += len(full)
    return total


def report(manifest: Path = MANIFEST) -> dict[str, list[dict[str, Any]]]:
    """Tables of the report by title: counts by split, noise type, SNR and corruption; rooms, SNR achieved against asked, levels.

    Raises UserError where there is no manifest.
    """
    if not manifest.exists():
        raise UserError(str(manifest), "no such file", "Run python -m tasks.mix")
    checked([manifest])
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE m AS SELECT split, kind, noise_type, snr_db, snr_db_measured - snr_db AS off, corruption, "
            "room_id IS NOT NULL AS room, level_dbfs FROM read_parquet(?)",
            [str(manifest)],
        )
        queries = {
            "split": "split, kind, count(*) AS mixtures, avg(room::INT) AS room_share",
            "noise": "coalesce(noise_type, '-') AS noise_type, count(*) AS mixtures",
            "SNR": "snr_db, count(*) AS mixtures, avg(off) AS mean_error_db, max(abs(off)) AS largest_error_db",
            "corruption": "corruption, count(*) AS mixtures",
            "level": "kind, min(level_dbfs) AS lowest_dbfs, median(level_dbfs) AS median_dbfs, max(level_dbfs) AS highest_dbfs",
        }
        return {title: _dicts(connection, f"SELECT {query} FROM m GROUP BY ALL ORDER BY ALL") for title, query in queries.items()}


def _dicts(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def printed(tables: dict[str, list[dict[str, Any]]]) -> str:
    """The report in columns."""
    lines: list[str] = []
    for rows in tables.values():
        if rows:
            cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells] + [""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _main() -> None:
    print(printed(report()))


if __name__ == "__main__":
    from tasks.common.cli import guarded

    guarded(_main)
