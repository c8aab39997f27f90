"""Shoebox rooms by the full image source model, with the absorption corrected from the measured RT60.

The response that is kept comes from pyroomacoustics, or from our own image sources, which agree with it within a tenth of a
decibel at a fraction of the time. The corrections need several responses a room and always take ours.
Sabine's formula misses the RT60 of a shoebox by up to 30 %, so the walls' absorption exponent is rescaled by measured over asked.
The image model rings too long below 100 Hz, where reflections that are all positive add up; a high-pass takes that off.
A capped image order would be faster and wrong: it cuts the tail.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyroomacoustics as pra
from scipy.signal import butter, sosfilt

from tasks.common.audio import RATE, Wave
from tasks.common.seeds import content_id, rng_of
from tasks.rooms.image import SPEED, image_sources
from tasks.rooms.measure import DIRECT, Decay, aligned, knee, measure, schroeder_db
from tasks.rooms.params import RoomsParams

RECIPE = 2  # raise it when the same recipe would give another response


def recipe(split: str, index: int, params: RoomsParams) -> dict[str, Any]:
    """Room number `index` of a split: sides, source, microphone (metres) and the RT60 asked for, drawn from its own seed."""
    rng = rng_of("rooms", split, index)
    sides = [round(float(rng.uniform(*span)), 3) for span in (params.length_m, params.width_m, params.height_m)]
    asked = round(float(rng.uniform(*params.rt60_s)), 3)
    low, high = np.full(3, params.wall_m), np.array(sides) - params.wall_m
    while True:
        source, microphone = rng.uniform(low, high), rng.uniform(low, high)
        if params.distance_m[0] <= np.linalg.norm(source - microphone) <= params.distance_m[1]:
            break
    return {
        "version": RECIPE,
        "split": split,
        "dims_m": sides,
        "source_m": [round(float(value), 3) for value in source],
        "microphone_m": [round(float(value), 3) for value in microphone],
        "rt60_asked_s": asked,
        "simulator": params.simulator,
        "corrections": params.corrections,
        "high_pass_hz": params.high_pass_hz,
    }


def pyroomacoustics_response(room: dict[str, Any], absorption: float, seconds: float) -> Wave:
    """(frames,) response by pyroomacoustics' image source model, of an order that reaches `seconds` along the shortest side."""
    order = int(np.ceil(SPEED * seconds / min(room["dims_m"])))
    box = pra.ShoeBox(room["dims_m"], fs=RATE, materials=pra.Material(absorption), max_order=order)
    box.add_source(room["source_m"])
    box.add_microphone(room["microphone_m"])
    box.compute_rir()
    response: Wave = np.asarray(box.rir[0][0], dtype=np.float32)[: pra.constants.get("frac_delay_length") // 2 + int(seconds * RATE)]
    return response


def room_response(room: dict[str, Any], absorption: float, simulator: str = "image_sources") -> Wave:
    """Response of a recipe whose walls all absorb the same share of energy, a fifth longer than the RT60 asked for."""
    seconds = 1.2 * room["rt60_asked_s"]
    if simulator == "pyroomacoustics":
        raw = pyroomacoustics_response(room, absorption, seconds)
    else:
        raw = image_sources(room["dims_m"], room["source_m"], room["microphone_m"], absorption, seconds)
    return aligned(np.asarray(sosfilt(butter(2, room["high_pass_hz"], "highpass", fs=RATE, output="sos"), raw), dtype=np.float32))


def sabine(dims_m: Sequence[float], rt60_s: float) -> float:
    """Absorption that Sabine's formula gives for an RT60, at most .99: drier than that no wall is."""
    length, width, height = dims_m
    surface = 2 * (length * width + length * height + width * height)
    return float(min(0.99, 24 * np.log(10) * length * width * height / (SPEED * surface * rt60_s)))


def solve_absorption(room: dict[str, Any]) -> tuple[float, list[Decay]]:
    """Absorption whose response comes closest to the RT60 asked for, and what was measured with Sabine's and after every correction."""
    absorption = sabine(room["dims_m"], room["rt60_asked_s"])
    tries: list[tuple[float, Decay]] = []
    for _ in range(room["corrections"] + 1):
        tries.append((absorption, measure(room_response(room, absorption))))
        ratio = (tries[-1][1].rt60_s or room["rt60_asked_s"]) / room["rt60_asked_s"]
        absorption = float(np.clip(1.0 - (1.0 - absorption) ** ratio, 0.01, 0.99))
    best = min(tries, key=lambda made: abs(np.log((made[1].rt60_s or 100.0) / room["rt60_asked_s"])))
    return best[0], [decay for _, decay in tries]


def trimmed(rir: Wave) -> Wave:
    """The response up to where 60 dB of its energy is spent, or its noise begins."""
    spent = np.flatnonzero(schroeder_db(rir) < -60.0)
    end = min(int(spent[0]) if len(spent) else len(rir), knee(rir))
    return rir[: max(end, 2 * DIRECT)]


def simulated_row(room: dict[str, Any]) -> dict[str, Any]:
    """A row of data/rooms from a recipe: the response with the absorption that comes closest to the RT60 asked for."""
    absorption, tries = solve_absorption(room)
    rir = room_response(room, absorption, room["simulator"])
    decay = measure(rir)
    return {
        "room_id": content_id(room),
        "source": "simulated",
        "split": room["split"],
        "rt60_asked_s": room["rt60_asked_s"],
        "rt60_s": decay.rt60_s,
        "c50_db": decay.c50_db,
        "dims_m": room["dims_m"],
        "rir": trimmed(rir),
        "sampling_rate": RATE,
        "licence": "CC0-1.0",
        "metadata": json.dumps({**room, "fit": decay.fit, "absorption": absorption, "rt60_sabine_s": tries[0].rt60_s}, sort_keys=True),
    }
