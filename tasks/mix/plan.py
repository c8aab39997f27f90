"""The plan: which speech, room, SNR and level go into each mixture. Pure, and decided by content alone.

A noisy mixture belongs to its noise clip, which draws everything from its own id: adding, removing or replacing a noise clip
changes its own rows and no other. Rows without noise belong to their speech clip, so every clip is covered.
Draws are rendezvous hashes and scrambled ids, done a noise clip at a time, so a plan of a million rows takes seconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.common.seeds import content_id, scramble, top
from tasks.mix.params import MixParams

RECIPE = 1  # raise it when the same recipe would render other samples
Row = dict[str, Any]
Keys = NDArray[np.uint64]


def id_keys(ids: Iterable[str]) -> Keys:
    """(n,) ids of 16 hex digits as the numbers they are."""
    return np.array([int(name, 16) for name in ids], dtype=np.uint64)


def unit(keys: Keys, *parts: Any) -> NDArray[np.float64]:
    """(n,) uniform numbers in [0, 1), each decided by its key and `parts`."""
    return np.asarray((scramble(keys, *parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def by_split(rows: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[str]]:
    """Ids by split, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        found[row["split"]].append(row[key])
    return {split: sorted(set(ids)) for split, ids in found.items()}


def rooms_of(keys: Keys, rooms: Sequence[str], share: float, owner: str) -> list[str | None]:
    """A room for `share` of the keys, by rendezvous hashing, so a new room moves only the picks it wins; None for the rest."""
    if not rooms or share == 0:
        return [None] * len(keys)
    inside = unit(keys, "mix", owner, "reverb") < share
    scores = np.stack([scramble(keys, "mix", owner, "room", room) for room in rooms])
    best = scores.argmax(axis=0)
    return [rooms[index] if heard else None for index, heard in zip(best, inside, strict=True)]


def recipe_row(recipe: Row, split: str, noise_type: str | None) -> Row:
    """A row of the plan. The recipe decides every sample of the mixture, so its hash is both identity and version."""
    digest = content_id(["mixture", RECIPE, recipe])
    corruption = "+".join([*(["reverb"] if recipe["room_id"] else []), *(["noise"] if recipe["noise_ids"] else [])]) or "clean"
    return {**recipe, "mixture_id": digest, "recipe_hash": digest, "split": split, "noise_type": noise_type, "corruption": corruption}


def noise_plan(noise: Mapping[str, Any], speech: Sequence[str], keys: Keys, rooms: Sequence[str], params: MixParams) -> list[Row]:
    """Mixtures of one noise clip. It goes through its split's speech in an order of its own, again from the start where it needs more."""
    name, wanted = noise["clip_id"], getattr(params.per_noise, noise["split"])
    rows: list[Row] = []
    while speech and len(rows) < wanted:
        turn = len(rows) // len(speech)
        order = top(keys, wanted - len(rows), "mix", name, turn)
        drawn = keys[order]
        owner = f"{name}/{turn}"
        levels = sorted(params.snr_db)
        snr = unit(drawn, "mix", owner, "snr") * len(levels)
        offsets = unit(drawn, "mix", owner, "offset")
        low, high = params.level_dbfs
        dbfs = low + (high - low) * unit(drawn, "mix", owner, "level")
        places = rooms_of(drawn, rooms, params.noise_reverb_share, owner)
        for at, index in enumerate(order):
            recipe = {
                "clip_id": speech[index],
                "noise_ids": [name],
                "room_id": places[at],
                "snr_db": float(levels[int(snr[at])]),
                "offset": round(float(offsets[at]), 6),
                "level_asked_dbfs": round(float(dbfs[at]), 2),
                "turn": turn,
                "peak": params.peak,
            }
            rows.append(recipe_row(recipe, noise["split"], noise["noise_type"]))
    return rows


def speech_plan(split: str, speech: Sequence[str], rooms: Sequence[str], params: MixParams) -> list[Row]:
    """Rows without noise: every clip as it is catalogued, and a share of the clips in a room."""
    keys = id_keys(speech)
    low, high = params.level_dbfs
    dbfs = low + (high - low) * unit(keys, "mix", "speech", "level")
    rows = []
    for clip, room, level in zip(speech, rooms_of(keys, rooms, params.speech_reverb_share, "speech"), dbfs, strict=True):
        plain: Row = {"clip_id": clip, "noise_ids": [], "room_id": None, "snr_db": None, "offset": None, "level_asked_dbfs": None}
        rows.append(recipe_row(plain, split, None))
        if room:
            reverberant = {**plain, "room_id": room, "level_asked_dbfs": round(float(level), 2), "peak": params.peak}
            rows.append(recipe_row(reverberant, split, None))
    return rows


def plan(
    noise_rows: Sequence[Mapping[str, Any]], speech_rows: Sequence[Mapping[str, Any]], room_rows: Sequence[Mapping[str, Any]], params: MixParams
) -> list[Row]:
    """Every mixture to render, in the order of ids, whatever the order of the rows.

    Args:
        noise_rows: `clip_id`, `split`, `noise_type` of every noise clip.
        speech_rows: `clip_id`, `split` of every utterance.
        room_rows: `room_id`, `split` of every room.
        params: what to draw from.

    Returns:
        rows with the planned columns of data/mixtures and `offset`, `level_asked_dbfs`; speech, noise and room of a row share its split.
    """
    speech, rooms = by_split(speech_rows, "clip_id"), by_split(room_rows, "room_id")
    keys = {split: id_keys(ids) for split, ids in speech.items()}
    rows: list[Row] = []
    for noise in sorted(noise_rows, key=lambda row: str(row["clip_id"])):
        split = noise["split"]
        if split in speech:
            rows += noise_plan(noise, speech[split], keys[split], rooms.get(split, []), params)
    for split in sorted(speech):
        rows += speech_plan(split, speech[split], rooms.get(split, []), params)
    return rows
