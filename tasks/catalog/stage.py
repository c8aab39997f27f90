"""Reads the corpora of the build into data/catalog: what is usable, what is not and why, and the composed utterances."""

import itertools
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.catalog import memo, utterances
from tasks.catalog.found import Refused
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import KINDS, CatalogParams, Entry, read_entry
from tasks.catalog.scan import Job, Scan, jobs_of, scan
from tasks.catalog.splits import assign
from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.fanout import FanOut
from tasks.common.params import corpora_root, load
from tasks.common.tables import prune, write_parquet

FOLDER = Path("data/catalog")
log = logging.getLogger("dinproof")

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
QUARANTINE = pa.schema({"path": _TEXT, "corpus": _TEXT, "reason": _TEXT, "detail": _TEXT})

Row = dict[str, Any]


def find_files(entry: Entry) -> tuple[list[Job], list[Refused]]:
    """The files of a corpus, cut into scan jobs, and those refused by name alone.

    Raises UserError where its folder is missing or nothing matches.
    """
    root = corpora_root() / entry.root
    if not root.is_dir():
        todo = f"Put the corpus there (see {entry.source}), or correct 'root' in its catalog entry"
        raise UserError(f"corpus {entry.corpus}", f"no folder {root}", todo)
    found, refused = LAYOUTS[entry.layout].find(entry, root)
    if not found:
        todo = "Correct 'pattern' or 'root' in its catalog entry"
        raise UserError(f"corpus {entry.corpus}", f"no file below {root} matches '{entry.pattern}'", todo)
    return jobs_of(entry, root, found), refused


def without_duplicates(rows: list[Row], first: dict[str, str]) -> tuple[list[Row], list[Row]]:
    """Rows whose samples are new, and the others; `first` (clip id to path) is what was seen so far, and is added to."""
    kept = [row for row in rows if first.setdefault(row["clip_id"], row["path"]) == row["path"]]
    return kept, [row for row in rows if first[row["clip_id"]] != row["path"]]


def settle(entry: Entry, scanned: list[Row], refused: list[Refused], holdout: list[str] | None, first: dict[str, str]) -> tuple[list[Row], list[Row]]:
    """Rows of a corpus with their splits, and its quarantine rows."""
    rows, repeated = without_duplicates(scanned, first)
    repeats = [Refused(row["path"], "duplicate", f"the same samples as {first[row['clip_id']]}") for row in repeated]
    refusals = [replace(one, path=f"{entry.root}/{one.path}") for one in refused] + repeats
    quarantine = [{"path": one.path, "corpus": entry.corpus, "reason": one.reason, "detail": one.detail} for one in refusals]
    if rows:
        assign(entry, rows, holdout)
    splits, reasons = Counter(row["split"] for row in rows), Counter(one.reason for one in refusals)
    log.info("  %s: %s; refused: %s", entry.corpus, _listed(splits), _listed(reasons))
    return rows, quarantine


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def run(*, fan_out: FanOut) -> Counts:
    """Write the tables of data/catalog and the shards of composed utterances."""
    params = load("catalog", CatalogParams)
    for corpus in sorted(set(params.holdout_speakers).difference(params.speech)):
        raise UserError("params.yaml, catalog.holdout_speakers", f"'{corpus}' is not a speech corpus of this build", "Name one of catalog.speech")
    entries = [read_entry(kind, name) for kind in KINDS for name in sorted(set(getattr(params, kind)))]
    tables: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    quarantine: list[Row] = []
    first: dict[str, str] = {}
    found = [find_files(entry) for entry in entries]
    results = iter(fan_out(scan, [job for jobs, _ in found for job in jobs], "catalog"))
    scans: list[Scan] = []
    composing: list[utterances.UtterancesJob] = []
    for entry, (jobs, refused) in zip(entries, found, strict=True):
        parts = list(itertools.islice(results, len(jobs)))
        scans += parts
        scanned = [row for part in parts for row in part.rows]
        refused += [one for part in parts for one in part.refused]
        rows, refusals = settle(entry, scanned, refused, params.holdout_speakers.get(entry.corpus), first)
        tables[entry.kind] += rows
        quarantine += refusals
        if entry.compose is not None:
            composing += utterances.jobs_of(entry, rows)
    known = [utterances.recall(job) for job in composing]
    new = iter(fan_out(utterances.write_utterances, [job for job, rows in zip(composing, known, strict=True) if rows is None], "utterances"))
    composed = [row for rows in known for row in (next(new) if rows is None else rows)]
    tables["speech"] += composed
    prune(memo.FOLDER, {one.memo_name for one in scans} | {utterances.memo_name(job) for job in composing}, "*.json")
    prune(utterances.FOLDER, {job.path.name for job in composing})
    utterances.FOLDER.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        write_parquet(FOLDER / f"{kind}.parquet", _table(tables[kind], SCHEMAS[kind]))
    write_parquet(FOLDER / "quarantine.parquet", _table(quarantine, QUARANTINE))
    for kind in KINDS:
        if getattr(params, kind) and not tables[kind]:
            raise UserError(f"catalog.{kind}", "every recording was refused", f"See the reasons in {FOLDER / 'quarantine.parquet'}")
    reused = {"scans": sum(one.reused for one in scans), "utterances": sum(len(rows) for rows in known if rows is not None)}
    every = {"scans": len(scans), "utterances": len(composed)}
    done = {name: count - reused[name] for name, count in every.items()} | {kind: len(tables[kind]) for kind in KINDS} | {"refused": len(quarantine)}
    return Counts(done=done, reused=reused)


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Rows by corpus and path, without the columns that only the scan needs."""
    ordered = sorted(rows, key=lambda row: (row["corpus"], row["path"]))
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in ordered], schema=schema)
