"""Reads the corpora of the build into data/catalog: what is usable, what is not and why, what is owed, and the composed utterances."""

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pyarrow.compute as pc

from tasks.catalog import index, utterances
from tasks.catalog.checks import CHOICES
from tasks.catalog.gather import Part, Refusals, drop_duplicates, gather, licences_of, split
from tasks.catalog.owed import corpus_row, write_corpora
from tasks.catalog.params import KINDS, CatalogParams, Entry, read_entry
from tasks.catalog.rows import QUARANTINE, SCHEMAS, TABLE, Row
from tasks.catalog.scan import Survey, forget, scan, survey
from tasks.catalog.writer import RowWriter
from tasks.common.cli import Counts
from tasks.common.errors import UserError, full_disk
from tasks.common.fanout import FanOut
from tasks.common.params import corpora_root, load

FOLDER = Path("data/catalog")


def run(*, fan_out: FanOut) -> Counts:
    """Write the tables of data/catalog and the shards of composed utterances.

    Raises UserError for a mistake in parameters or entries, and, when everything is written, where a corpus is rotten or nothing of a kind is left.
    """
    params = load("catalog", CatalogParams)
    for corpus in sorted(set(params.holdout_speakers).difference(params.speech)):
        raise UserError("params.yaml, catalog.holdout_speakers", f"'{corpus}' is not a speech corpus of this build", "Name one of catalog.speech")
    entries = [read_entry(kind, name) for kind in KINDS for name in sorted(set(getattr(params, kind)))]
    index.FOLDER.mkdir(parents=True, exist_ok=True)
    for killed in index.FOLDER.glob("rows-*"):
        shutil.rmtree(killed)
    try:
        with tempfile.TemporaryDirectory(prefix="rows-", dir=index.FOLDER) as folder:
            return _run(params, entries, fan_out, Path(folder))
    except sqlite3.DatabaseError as error:
        todo = "Free its disk, or delete the folder: it is made again"
        raise full_disk(error) or UserError(str(index.FOLDER), f"the index of earlier scans: {error}", todo) from None


def _run(params: CatalogParams, entries: list[Entry], fan_out: FanOut, folder: Path) -> Counts:
    refusals = [Refusals(entry, folder / f"{entry.kind}-{entry.corpus}-refused.parquet") for entry in entries]
    surveys = [_survey(entry, refused) for entry, refused in zip(entries, refusals, strict=True)]
    scanned = fan_out(scan, [job for one in surveys for job in one.jobs], "catalog")
    parts: list[Part] = []
    for entry, refused, seen in zip(entries, refusals, surveys, strict=True):
        forget(entry)
        parts.append(gather(entry, refused, seen.files, params.holdout_speakers.get(entry.corpus), params.allow_licences, folder))
    drop_duplicates(parts)
    for part in parts:
        split(part)
    composed, reused = _compose(parts, fan_out)

    counts = {kind: _write(kind, parts, composed) for kind in SCHEMAS}
    with RowWriter(FOLDER / "quarantine.parquet", QUARANTINE) as writer:
        for part in sorted(parts, key=lambda part: part.entry.corpus):
            writer.write(part.refusals.table())
    write_corpora(FOLDER / "corpora.parquet", [_owed(part) for part in parts])
    _stop_where_rotten(params, parts)
    decoded, files = sum(one.decoded for one in scanned), sum(one.files for one in surveys)
    made = sum(len(rows) for rows in composed.values())
    refused_rows = sum(part.refusals.reasons.total() for part in parts)
    done = {"files": decoded, "hashed": sum(one.hashed for one in scanned), "utterances": made - reused, **counts, "refused": refused_rows}
    return Counts(done=done, reused={"files": files - decoded, "utterances": reused})


def _survey(entry: Entry, refusals: Refusals) -> Survey:
    """What of a corpus must be opened; raises UserError where its folder is missing or nothing matches."""
    root = corpora_root() / entry.root
    if not root.is_dir():
        todo = f"Put the corpus there (see {entry.source}), or correct 'root' in its catalog entry"
        raise UserError(f"corpus {entry.corpus}", f"no folder {root}", todo)
    seen = survey(entry, root, refusals.add)
    if not seen.files:
        todo = "Correct 'pattern' or 'root' in its catalog entry"
        raise UserError(f"corpus {entry.corpus}", f"no file below {root} matches '{entry.pattern}'", todo)
    return seen


def _compose(parts: list[Part], fan_out: FanOut) -> tuple[dict[str, list[Row]], int]:
    """The rows of the composed utterances by corpus, and how many of them an earlier run had composed."""
    jobs = [job for part in parts if part.entry.compose is not None for job in utterances.jobs_of(part.entry, part.pieces(utterances.COLUMNS))]
    known = [utterances.recall(job) for job in jobs]
    new = iter(fan_out(utterances.write_utterances, [job for job, rows in zip(jobs, known, strict=True) if rows is None], "utterances"))
    composed: dict[str, list[Row]] = {}
    for job, rows in zip(jobs, known, strict=True):
        composed.setdefault(job.corpus, []).extend(utterances.under_licence(job, next(new) if rows is None else rows))
    utterances.prune_kept(jobs)
    return composed, sum(len(rows) for rows in known if rows is not None)


def _write(table: str, parts: list[Part], composed: dict[str, list[Row]]) -> int:
    """A table by corpus; in a corpus composed utterances first, then by path, folder by folder. Returns its rows."""
    count = 0
    with RowWriter(FOLDER / f"{table}.parquet", SCHEMAS[table]) as writer:
        for part in sorted((part for part in parts if TABLE[part.entry.kind] == table), key=lambda part: (part.entry.corpus, part.entry.kind)):
            made = sorted(composed.get(part.entry.corpus, []), key=lambda row: str(row["path"])) if part.entry.kind == "speech" else []
            for row in made:
                writer.add(row)
            for piece in part.pieces():
                writer.write(piece)
            count += len(made) + len(part.splits)
    return count


def _owed(part: Part) -> dict[str, object]:
    hours = sum(pc.sum(piece["duration_s"]).as_py() or 0.0 for piece in part.pieces(["duration_s"])) / 3600
    return corpus_row(part.entry, part.files, len(part.splits), hours, licences_of(part))


def _stop_where_rotten(params: CatalogParams, parts: list[Part]) -> None:
    see = f"See the reasons in {FOLDER / 'quarantine.parquet'}"
    for part in parts:
        reasons = part.refusals.reasons
        damaged = {reason: count for reason, count in reasons.items() if reason not in CHOICES}
        share = sum(damaged.values()) / max(1, len(part.splits) + reasons.total() - reasons["no_label"])
        if share > params.max_quarantine_share:
            often = ", ".join(f"{count} {reason}" for reason, count in sorted(damaged.items(), key=lambda item: (-item[1], item[0]))[:3])
            what = f"{100 * share:.1f} % of its recordings are damaged ({often}), at most {100 * params.max_quarantine_share:g} % may be"
            raise UserError(f"corpus {part.entry.corpus}", what, f"{see}; fetch it again, or raise catalog.max_quarantine_share")
    for kind in KINDS:
        of_kind = [part for part in parts if part.entry.kind == kind]
        if of_kind and not any(len(part.splits) for part in of_kind):
            raise UserError(f"catalog.{kind}", "every recording was refused", see)
