"""Utterances composed of a corpus' single words: which words, by whom, how many; written as shards, one a speaker and split."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.catalog import index
from tasks.catalog.audio import load_clips
from tasks.catalog.compose import compose
from tasks.catalog.found import clip_id_of
from tasks.catalog.owed import together
from tasks.catalog.params import SPLITS, Compose, Entry
from tasks.common.audio import RATE, decode, encode_flac, rms_dbfs
from tasks.common.seeds import content_id, file_sha256, rng_of
from tasks.common.tables import AUDIO, prune, write_parquet
from tasks.common.versions import made_by

FOLDER = Path("data/catalog/utterances")
SCHEMA = pa.schema([("clip_id", pa.string()), ("audio", AUDIO), ("sampling_rate", pa.int32())])
COLUMNS = ("clip_id", "path", "sha256", "sampling_rate", "duration_s", "licence", "split", "speaker", "text")  # of the words


@dataclass(frozen=True)
class UtterancesJob:
    """`count` utterances of one speaker of a corpus in one split, of the words in `rows`."""

    path: Path
    corpus: str
    rule: Compose
    split: str
    speaker: str
    count: int
    rows: tuple[dict[str, Any], ...]


def jobs_of(entry: Entry, words: Iterable[pa.Table]) -> list[UtterancesJob]:
    """The utterances of each split shared out evenly among its speakers; `words` are pieces of the catalog with COLUMNS."""
    assert entry.compose is not None
    by_split: dict[str, dict[str, list[dict[str, Any]]]] = {split: defaultdict(list) for split in SPLITS}
    longest = entry.compose.max_s - entry.compose.lead_s[1]
    for piece in words:
        for row in piece.to_pylist():
            if row["duration_s"] < longest:  # a longer word fits into no utterance
                by_split[row["split"]][row["speaker"]].append(row)
    jobs: list[UtterancesJob] = []
    for split in SPLITS:
        speakers = by_split[split]
        for rank, speaker in enumerate(sorted(speakers)):
            total = entry.compose.utterances.get(split, 0)
            count = total * (rank + 1) // len(speakers) - total * rank // len(speakers)
            path = FOLDER / f"{entry.corpus}-{split}-{content_id(speaker)[:8]}.parquet"
            rows = tuple(sorted(speakers[speaker], key=lambda row: str(row["clip_id"])))
            jobs.append(UtterancesJob(path, entry.corpus, entry.compose, split, speaker, count, rows))
    return jobs


def _name(job: UtterancesJob) -> str:
    """Under what a job's rows are kept: all that decides them. The words' paths and licences decide no sample."""
    words = [[row["clip_id"], row["text"]] for row in job.rows]
    made = made_by("tasks.catalog.utterances", "tasks.common.tables")
    return content_id([made, job.path.name, job.corpus, job.rule.model_dump(mode="json"), job.split, job.speaker, job.count, words])


def recall(job: UtterancesJob) -> list[dict[str, Any]] | None:
    """The rows of an earlier run, if it wrote this very shard and the shard is still there; else None."""
    if not job.path.is_file():
        return None
    with index.opened("speech", job.corpus) as db:
        found = db.execute("SELECT kept FROM utterances WHERE name = ?", [_name(job)]).fetchone()
    kept = json.loads(found[0]) if found else None
    if kept is None or file_sha256(job.path) != kept["sha256"]:
        return None
    rows: list[dict[str, Any]] = kept["rows"]
    return rows


def under_licence(job: UtterancesJob, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a job with the licences of its words, as they are now."""
    licence = together({row["licence"] for row in job.rows})
    return [{**row, "licence": licence} for row in rows]


def prune_kept(jobs: list[UtterancesJob]) -> None:
    """Delete the shards that no job makes, and what is kept of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    prune(FOLDER, {job.path.name for job in jobs})
    for corpus in sorted({job.corpus for job in jobs}):
        names = [_name(job) for job in jobs if job.corpus == corpus]
        with index.opened("speech", corpus) as db:
            db.execute("DELETE FROM utterances WHERE name NOT IN (SELECT value FROM json_each(?))", [json.dumps(names)])


def write_utterances(job: UtterancesJob) -> list[dict[str, Any]]:
    """Write a speaker's shard; returns the catalog rows of its utterances, without their licence."""
    waves = load_clips(job.rows)
    takes: dict[str, list[str]] = defaultdict(list)
    for row in job.rows:
        takes[row["text"]].append(row["clip_id"])
    corpus = job.corpus
    shard: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    spoken: Counter[str] = Counter()
    lowest, highest = job.rule.words
    for number in range(job.count):
        rng = rng_of("compose", corpus, job.split, job.speaker, number)
        texts = next_words(sorted(takes), spoken, lowest + number % (highest - lowest + 1), rng)
        chosen = [takes[text][rng.integers(len(takes[text]))] for text in texts]
        wave, starts_s, ends_s = compose([waves[clip] for clip in chosen], rng, job.rule.gap_s, job.rule.lead_s, job.rule.max_s)
        texts, chosen = texts[: len(starts_s)], chosen[: len(starts_s)]
        spoken.update(texts)
        flac = encode_flac(wave)
        clip_id = clip_id_of(decode(flac)[0], RATE)
        metadata = {"words": texts, "starts_s": starts_s, "ends_s": ends_s, "speaker": job.speaker, "word_clips": chosen}
        shard.append({"clip_id": clip_id, "audio": {"bytes": flac, "path": clip_id}, "sampling_rate": RATE})
        rows.append(
            {
                "clip_id": clip_id,
                "corpus": corpus,
                "kind": "utterance",
                "path": f"{job.path.as_posix()}#{clip_id}",
                "sha256": hashlib.sha256(flac).hexdigest(),
                "sampling_rate": RATE,
                "duration_s": len(wave) / RATE,
                "channels": 1,
                "rms_dbfs": round(rms_dbfs(wave), 3),
                "split": job.split,
                "speaker": job.speaker,
                "text": " ".join(texts),
                "metadata": json.dumps(metadata, sort_keys=True, ensure_ascii=False),
            }
        )
    write_parquet(job.path, shard, SCHEMA)
    with index.opened("speech", corpus) as db:
        kept = json.dumps({"sha256": file_sha256(job.path), "rows": rows}, ensure_ascii=False)
        db.execute("INSERT OR REPLACE INTO utterances (name, kept) VALUES (?, ?)", [_name(job), kept])
    return rows


def next_words(vocabulary: list[str], spoken: Counter[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` distinct words (all, if there are fewer) in random order, those spoken least so far, so that all stay balanced."""
    ties = dict(zip(vocabulary, rng.random(len(vocabulary)), strict=True))
    least = sorted(vocabulary, key=lambda word: (spoken[word], ties[word]))[:count]
    return [least[index] for index in rng.permutation(len(least))]
