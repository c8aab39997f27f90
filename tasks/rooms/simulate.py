"""Shoebox rooms that ring as long as they were asked to.

The absorption starts at its closed-form value (`decay.py`) and is rescaled by measured over asked RT60 until they agree; a room of which
a response stays more than a tenth off is drawn again.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.common.audio import RATE, Wave
from tasks.common.seeds import content_id
from tasks.rooms.bands import rt60_by_octave
from tasks.rooms.decay import Numbers, solved
from tasks.rooms.draw import Place, impossible, place
from tasks.rooms.measure import DIRECT, Decay, aligned, measure, started, trimmed
from tasks.rooms.render import arrivals, pyroomacoustics_responses, raw_response

CLOSE = 0.02  # a measured RT60 that is no further from the asked one is not corrected
ACCEPTED = 0.10  # a room with a response that stays further off is drawn again
ATTEMPTS = 64
WALLS = (0.01, 0.99)  # absorption: neither a mirror nor an open window


@dataclass(frozen=True)
class Solved:
    """Absorption of a place's walls (one, or one an octave), its first response with it, and the RT60 of the closed form and every correction."""

    absorption: Numbers
    first: Wave
    tried_s: list[float | None]


@dataclass(frozen=True)
class Heard:
    """An aligned response of one pair, and what was measured from it."""

    source: int
    microphone: int
    rir: Wave
    decay: Decay


def solve(room: Place, corrections: int, hertz: float, seed: str, shape: Numbers) -> Solved:
    """The absorption of a place that brings its first pair closest to the RT60 asked for.

    Args:
        corrections: at most so many.
        hertz: of the high-pass.
        seed: of the tail.
        shape: proportions of -ln(1 - absorption) by octave, or one number.
    """
    distance = float(np.linalg.norm(np.subtract(room.sources_m[0], room.microphones_m[0])))
    exponents, begin = solved(room.dims_m, distance, room.rt60_asked_s, shape), arrivals(room, 0)[0]
    tries: list[tuple[float, Numbers, Wave, float | None]] = []
    for _ in range(corrections + 1):
        absorption = np.clip(-np.expm1(-exponents), *WALLS)
        response = raw_response(room, 0, 0, absorption, hertz, seed)
        rt60_s = measure(started(response, begin)).rt60_s
        off = abs(float(np.log(rt60_s / room.rt60_asked_s))) if rt60_s else np.inf
        tries.append((off, absorption, response, rt60_s))
        if off <= CLOSE or rt60_s is None:
            break
        exponents = -np.log1p(-absorption) * rt60_s / room.rt60_asked_s
    _, absorption, response, _ = min(tries, key=lambda made: made[0])
    return Solved(absorption, response, [made[3] for made in tries])


def heard(room: Place, walls: Solved, asked: dict[str, Any]) -> list[Heard]:
    """Every pair of a place, source by source, the microphones of each aligned together."""
    hertz, microphones = asked["high_pass_hz"], range(len(room.microphones_m))
    theirs = pyroomacoustics_responses(room, walls.absorption, hertz) if asked["simulator"] == "pyroomacoustics" else None
    found = []
    for source in range(len(room.sources_m)):
        if theirs is not None:
            responses = theirs[source]
        else:
            first = [walls.first] if source == 0 else []
            rest = microphones[len(first) :]
            responses = first + [raw_response(room, source, number, walls.absorption, hertz, content_id(asked)) for number in rest]
        directs = arrivals(room, source)
        for number, rir in enumerate(aligned(responses, directs)):
            found.append(Heard(source, number, rir, measure(rir, DIRECT + directs[number] - min(directs))))
    return found


def within(rt60_s: float | None, asked_s: float) -> bool:
    """Whether a measured RT60 is near enough to the one asked for."""
    return rt60_s is not None and abs(rt60_s / asked_s - 1.0) <= ACCEPTED


def simulate(asked: dict[str, Any]) -> tuple[Place, Solved, list[Heard], int]:
    """The first place of a request that rings as long as asked at every pair, and how many were drawn; raises UserError where none does."""
    shape = 1.0 / np.array(asked["rt60_by_octave"] or (1.0,))
    for attempt in range(ATTEMPTS):
        room = place(asked, attempt)
        if room is None:
            continue
        walls = solve(room, asked["corrections"], asked["high_pass_hz"], content_id(asked), shape)
        if within(min(walls.tried_s, key=lambda rt60_s: abs((rt60_s or np.inf) - room.rt60_asked_s)), room.rt60_asked_s):
            pairs = heard(room, walls, asked)
            if all(within(pair.decay.rt60_s, room.rt60_asked_s) for pair in pairs):
                return room, walls, pairs, attempt + 1
    raise impossible(asked, ATTEMPTS)


def room_id(asked: dict[str, Any], source: int, microphone: int) -> str:
    """Id of the response of one pair."""
    return content_id([content_id(asked), source, microphone])


def room_ids(asked: dict[str, Any]) -> list[str]:
    """Ids of a request's responses, known before it is simulated."""
    return [room_id(asked, source, microphone) for source in range(asked["sources"]) for microphone in range(asked["microphones"]["count"])]


def simulated_rows(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of data/rooms from a request: one a pair of source and microphone, all of one place."""
    room, walls, pairs, attempts = simulate(asked)
    common = {
        **asked,
        **room.described(),
        "absorption": walls.absorption.tolist(),
        "rt60_predicted_s": walls.tried_s[0],
        "renders": len(walls.tried_s),
        "attempts": attempts,
    }
    rows = []
    for pair in pairs:
        told = common | {"fit": pair.decay.fit}
        if asked["rt60_by_octave"]:
            told["rt60_by_octave_s"] = rt60_by_octave(pair.rir)
        rows.append(
            {
                "room_id": room_id(asked, pair.source, pair.microphone),
                "place_id": content_id(asked),
                "source": "simulated",
                "split": asked["split"],
                "source_index": pair.source,
                "microphone_index": pair.microphone,
                "rt60_asked_s": room.rt60_asked_s,
                "rt60_s": pair.decay.rt60_s,
                "c50_db": pair.decay.c50_db,
                "drr_db": pair.decay.drr_db,
                "dims_m": list(room.dims_m),
                "rir": trimmed(pair.rir),
                "sampling_rate": RATE,
                "licence": "CC0-1.0",
                "metadata": json.dumps(told, sort_keys=True),
            }
        )
    return rows
