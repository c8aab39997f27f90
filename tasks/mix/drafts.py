"""What is drawn for every row of the plan, many rows at a time: from a noise clip's id or an utterance's, and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.common.seeds import finalise, scramble, seed_of, top
from tasks.mix.chains import Chain, Chains
from tasks.mix.params import MixParams
from tasks.mix.pools import Keys, Ring, id_keys, unit

BATCH = 1 << 11  # rows drawn at a time
Row = dict[str, Any]


@dataclass
class Split:
    """What the mixtures of a split are made of, in the order of ids."""

    speech: list[str]
    speakers: list[str]
    rooms: list[str]
    noises: list[tuple[str, str | None]]
    rings: dict[str | None, Ring] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = id_keys(self.speech)
        self.speaker_of = dict(zip(self.speech, self.speakers, strict=True))

    def voices(self) -> Ring:
        """Every utterance, by speaker."""
        if "speech" not in self.rings:
            self.rings["speech"] = Ring(self.speech, self.speakers)
        return self.rings["speech"]

    def noise_clips(self, noise_type: str | None) -> Ring:
        """Noise clips of a type (None: of any)."""
        key = f"noise/{noise_type}"
        if key not in self.rings:
            names = [name for name, kind in self.noises if noise_type in (None, kind)]
            self.rings[key] = Ring(names, names)
        return self.rings[key]


def rooms_of(keys: Keys, rooms: Sequence[str], share: float, owner: str) -> list[str | None]:
    """A room for `share` of the keys, by rendezvous hashing, so a new room moves only the picks it wins; None for the rest."""
    chosen: list[str | None] = [None] * len(keys)
    inside = np.flatnonzero(unit(keys, "mix", owner, "reverb") < share) if rooms else np.empty(0, np.int64)
    if inside.size:
        seeds = np.array([seed_of("mix", owner, "room", room) for room in rooms], dtype=np.uint64)
        for start in range(0, len(inside), BATCH):
            some = inside[start : start + BATCH]
            best = np.zeros(len(some), np.int64)
            score = np.zeros(len(some), np.uint64)
            for first in range(0, len(seeds), 64):  # a few rooms at a time: their scores stay in the cache
                scores = finalise(keys[some][:, None] ^ seeds[None, first : first + 64])
                winner = scores.argmax(axis=1)
                value = scores[np.arange(len(some)), winner]
                better = value > score
                best[better], score[better] = winner[better] + first, value[better]
            for place, index in zip(some.tolist(), best.tolist(), strict=True):
                chosen[place] = rooms[index]
    return chosen


@dataclass
class Draft:
    """A row before its corruptions are drawn: its key (unique, from content), owner, type and recipe so far."""

    key: int
    owner: str
    noise_type: str | None
    recipe: Row


def noise_drafts(name: str, noise_type: str | None, wanted: int, split: Split, params: MixParams) -> list[Draft]:
    """Rows of one noise clip. It goes through its split's speech in an order of its own, again from the start where it needs more."""
    drafts: list[Draft] = []
    levels, (low, high) = sorted(params.snr_db), params.level_dbfs
    while split.speech and len(drafts) < wanted:
        turn = len(drafts) // len(split.speech)
        order = top(split.keys, wanted - len(drafts), "mix", name, turn)
        drawn, owner = split.keys[order], f"{name}/{turn}"
        columns = zip(
            scramble(drawn, "mix", owner, "row").tolist(),
            order.tolist(),
            rooms_of(drawn, split.rooms, params.noise_reverb_share, owner),
            (unit(drawn, "mix", owner, "snr") * len(levels)).astype(np.int64).tolist(),
            np.round(unit(drawn, "mix", owner, "offset"), 6).tolist(),
            np.round(low + (high - low) * unit(drawn, "mix", owner, "level"), 2).tolist(),
            strict=True,
        )
        for key, index, room, level, offset, dbfs in columns:
            recipe = {"speech": split.speech[index], "noises": [name], "room": room, "snr_db": levels[level], "offset": offset, "turn": turn}
            drafts.append(Draft(key, name, noise_type, {**recipe, "level_dbfs": dbfs, "peak": params.peak}))
    return drafts


def finished(drafts: Sequence[Draft], chosen: NDArray[np.int64], chains: Sequence[Chain], split: Split) -> Iterator[Draft]:
    """The drafts with the corruptions of the chain chosen for each (-1: none) drawn; one that wants voices where there are none is left out."""
    keys = np.array([draft.key for draft in drafts], dtype=np.uint64)
    left_out: set[int] = set()
    for index, chain in enumerate(chains):
        rows = [row for row in np.flatnonzero(chosen == index).tolist() if chain.noise_type in (None, drafts[row].noise_type)]
        if not rows:
            continue
        mine = keys[rows]
        drawn = chain.draw(lambda name, mine=mine: unit(mine, "chain", name), len(rows))  # type: ignore[misc]
        if chain.pool:
            counts = [values["source"]["count"] for values in drawn]
            ring = split.voices() if chain.pool == "speech" else split.noise_clips(chain.noise_type)
            own = [split.speaker_of[drafts[row].owner] if chain.pool == "speech" else drafts[row].owner for row in rows]
            further = ring.others(mine, own, counts)
        else:
            further = [[] for _ in rows]
        for row, values, clips in zip(rows, drawn, further, strict=True):
            recipe = drafts[row].recipe
            if chain.pool == "speech":
                recipe["voices"] = clips
                left_out |= set() if clips else {row}
            elif chain.pool:
                recipe["noises"] = [*recipe["noises"], *clips]
            recipe |= values
    return (draft for row, draft in enumerate(drafts) if row not in left_out)


def speech_drafts(split: Split, params: MixParams, chains: Chains) -> Iterator[Draft]:
    """Rows without a noise clip: every utterance as catalogued, a share of them in a room, and a share of them for every chain."""
    levels, (low, high) = sorted(params.snr_db), params.level_dbfs

    def drafts(name: str, heard: NDArray[np.int64], rooms: list[str | None]) -> list[Draft]:
        keys = split.keys[heard]
        dbfs = np.round(low + (high - low) * unit(keys, "mix", name, "level"), 2).tolist()
        columns = zip(scramble(keys, "mix", name, "row").tolist(), heard.tolist(), rooms, dbfs, strict=True)
        return [
            Draft(key, split.speech[at], None, {"speech": split.speech[at], "room": room, "level_dbfs": level, "peak": params.peak})
            for key, at, room, level in columns
        ]

    for start in range(0, len(split.speech), BATCH):
        every = np.arange(start, min(start + BATCH, len(split.speech)))
        yield from (Draft(0, split.speech[at], None, {"speech": split.speech[at]}) for at in every)
        reverberant = drafts("speech", every, rooms_of(split.keys[every], split.rooms, params.speech_reverb_share, "speech"))
        yield from (draft for draft in reverberant if draft.recipe["room"])
        for index, chain in enumerate(chains.speech):
            heard = every[unit(split.keys[every], "mix", chain.key, "share") < chain.share]
            made = drafts(chain.key, heard, rooms_of(split.keys[heard], split.rooms, params.speech_reverb_share, chain.key))
            if chain.source:
                for draft, value in zip(made, unit(split.keys[heard], "mix", chain.key, "snr").tolist(), strict=True):
                    draft.noise_type, draft.recipe["snr_db"] = chain.source.name, levels[int(value * len(levels))]
            yield from finished(made, np.full(len(made), index), chains.speech, split)
