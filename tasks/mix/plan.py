"""The plan: which speech, room, noises, SNR, corruptions and level go into each mixture. Pure, and decided by content alone.

A noisy mixture belongs to its noise clip, which draws everything from its own id: adding, removing or replacing a noise clip
changes rows that hold it and no other. Rows without a noise clip belong to their speech clip, so every clip is covered.
Draws are rendezvous hashes, consistent hashes and scrambled ids (`tasks.mix.drafts`), so a million rows take well under a minute.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.common.versions import made_by
from tasks.mix.chains import Chains
from tasks.mix.drafts import BATCH, Draft, Split, finished, noise_drafts, speech_drafts
from tasks.mix.params import MixParams
from tasks.mix.pools import unit

RECIPE = 2  # of what a recipe means: it is in every mixture_id, so raising it draws the questions asked of a mixture anew
STRINGS = pa.list_(pa.string())
PLAN = pa.schema(
    [
        *((name, pa.string()) for name in ("mixture_id", "owner", "kind", "split", "clip_id")),
        *((name, STRINGS) for name in ("noise_ids", "voice_ids")),
        *((name, pa.string()) for name in ("noise_type", "room_id")),
        ("snr_db", pa.float64()),
        *((name, pa.string()) for name in ("corruption", "recipe_hash", "recipe")),
    ]
)
Row = dict[str, Any]
Rows = Any  # a pa.Table, or a sequence of mappings


def _rows(table: Rows, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Tuples of some columns, None where there is no such column, in the order of the first of them."""
    if isinstance(table, pa.Table):
        columns = [table[name].to_pylist() if name in table.column_names else [None] * len(table) for name in names]
        return iter(sorted(zip(*columns, strict=True), key=lambda row: row[0]))
    return iter(sorted((tuple(row.get(name) for name in names) for row in table), key=lambda row: row[0]))


def splits_of(noise: Rows, speech: Rows, rooms: Rows) -> dict[str, Split]:
    """Utterances, speakers, rooms and noise clips by split; a clip of no known speaker is a speaker of its own."""
    found: dict[str, Split] = {}
    grouped: dict[str, tuple[dict[str, str], list[str], list[tuple[str, str | None]]]] = defaultdict(lambda: ({}, [], []))
    for clip, split, corpus, speaker in _rows(speech, ["clip_id", "split", "corpus", "speaker"]):
        grouped[split][0][clip] = clip if speaker is None else f"{corpus}/{speaker}"
    for room, split in _rows(rooms, ["room_id", "split"]):
        grouped[split][1].append(room)
    for clip, split, kind in _rows(noise, ["clip_id", "split", "noise_type"]):
        grouped[split][2].append((clip, kind))
    for split, (speakers, places, noises) in sorted(grouped.items()):
        found[split] = Split(list(speakers), list(speakers.values()), places, noises)
    return found


def corruption_of(recipe: Row) -> str:
    """What is done to the speech, in order, e.g. `reverb+noise+mp3` or `babble`; `clean` where nothing is."""
    added = recipe["source"]["name"] if "source" in recipe else "noise" if recipe.get("noises") else None
    parts = ["reverb" if recipe.get("room") else None, added, recipe.get("envelope", {}).get("name")]
    return "+".join(part for part in [*parts, *(step["name"] for step in recipe.get("effects", []))] if part) or "clean"


def batch_of(drafts: Iterable[Draft], kind: str, split: str, device: str) -> pa.RecordBatch:
    """Drafts as rows of the plan. `mixture_id` hashes the recipe; `recipe_hash` also the code and libraries that render it and its room."""
    columns: dict[str, list[Any]] = {name: [] for name in PLAN.names}
    version = f"mixture {RECIPE}{'' if device == 'cpu' else f' {device}'} "
    mixed = made_by("tasks.mix.shards")
    roomed = mixed + made_by("tasks.rooms.stage")
    for draft in drafts:
        recipe = {name: value for name, value in draft.recipe.items() if value not in (None, [])}
        text = json.dumps(recipe, sort_keys=True)
        digest = hashlib.sha256((version + text).encode()).hexdigest()[:16]
        made = hashlib.sha256((digest + (roomed if "room" in recipe else mixed)).encode()).hexdigest()[:16]
        values = (
            *(digest, draft.owner, kind, split, recipe["speech"], recipe.get("noises", []), recipe.get("voices", [])),
            *(draft.noise_type, recipe.get("room"), recipe.get("snr_db"), corruption_of(recipe), made, text),
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.RecordBatch.from_pydict(columns, schema=PLAN)


def batches(splits: Mapping[str, Split], params: MixParams, chains: Chains) -> Iterator[pa.RecordBatch]:
    """The plan, some thousand rows at a time: the noise clips of each split in order of ids, then its utterances."""
    shares = np.cumsum([chain.share for chain in chains.noise])
    for name, split in splits.items():
        waiting: list[Draft] = []
        wanted = getattr(params.per_noise, name)
        for index, (clip, noise_type) in enumerate(split.noises):
            waiting += noise_drafts(clip, noise_type, wanted, split, params)
            if waiting and (len(waiting) >= BATCH or index + 1 == len(split.noises)):
                chosen = np.searchsorted(shares, unit(np.array([draft.key for draft in waiting], dtype=np.uint64), "chain"), side="right")
                yield batch_of(finished(waiting, chosen, chains.noise, split), "noise", name, params.device)
                waiting = []
        for draft in speech_drafts(split, params, chains):
            waiting.append(draft)
            if len(waiting) >= BATCH:
                yield batch_of(waiting, "speech", name, params.device)
                waiting = []
        if waiting:
            yield batch_of(waiting, "speech", name, params.device)


def plan(noise: Rows, speech: Rows, rooms: Rows, params: MixParams, chains: Chains) -> pa.Table:
    """Every mixture to render, whatever the order of the rows.

    Args:
        noise: `clip_id`, `split`, `noise_type` of every noise clip, a table or rows; so are the others.
        speech: `clip_id`, `split` of every utterance; `corpus` and `speaker` where known, so that other voices are other speakers'.
        rooms: `room_id`, `split` of every room.
        params: what to draw from.
        chains: corruptions beyond one noise and a room.

    Returns:
        rows of `PLAN`. `recipe` is JSON and decides every sample; speech, noises, voices and room of a row share its split.
    """
    return pa.Table.from_batches(batches(splits_of(noise, speech, rooms), params, chains), schema=PLAN)
