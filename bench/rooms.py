"""Room responses: ours beside pyroomacoustics' full image source model, in speed, in memory and in what they measure.

    python -m bench.rooms [--rooms N]

Both sides: the same rooms, drawn from params.yaml's sides and positions at a fixed RT60, one thread, CPU time in total. The peer's order is that
of its own `inverse_sabine`, complete up to the RT60; ours ends at 1.2 times the RT60. Our time holds the high-pass, the peer's does not.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyroomacoustics as pra
from scipy.signal import sosfilt

from bench.table import Row, markdown
from tasks.common.audio import RATE, Wave
from tasks.common.params import load
from tasks.rooms.bands import OCTAVES_HZ
from tasks.rooms.decay import Numbers
from tasks.rooms.draw import Place, place, request
from tasks.rooms.measure import measure, schroeder_db, started
from tasks.rooms.params import RoomsParams
from tasks.rooms.render import arrivals, high_pass, raw_response
from tasks.rooms.simulate import ACCEPTED, solve

PEER = "pyroomacoustics full ISM"
TILT = (1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.6)  # of the RT60 by octave, as carpets and curtains make it
ARRAY = 4  # microphones
HERTZ = 100.0


def drawn(count: int, rt60_s: float, **changed: Any) -> list[Place]:
    """`count` places at an RT60."""
    params = load("rooms", RoomsParams).model_dump() | {"rt60_s": (rt60_s, rt60_s)} | changed
    made = (place(request("bench", index, RoomsParams.model_validate(params)), attempt) for attempt in range(8) for index in range(count))
    return [room for room in made if room is not None][:count]


def order(room: Place) -> int:
    """Image order that `pyroomacoustics.inverse_sabine` gives; it refuses some dry rooms, so its formula stands here."""
    x, y, z = room.dims_m
    return int(np.ceil(pra.constants.get("c") * room.rt60_asked_s / min(a * b / np.hypot(a, b) for a, b in ((x, y), (x, z), (y, z))) - 1))


def peer(room: Place, absorption: Numbers) -> list[Wave]:
    """Responses of the first source at every microphone, by the peer."""
    walls = {"coeffs": list(absorption), "center_freqs": list(OCTAVES_HZ)} if len(absorption) > 1 else float(absorption[0])
    box = pra.ShoeBox(room.dims_m, fs=RATE, materials=pra.Material(walls), max_order=order(room))
    box.add_source(room.sources_m[0])
    for at in room.microphones_m:
        box.add_microphone(at)
    box.compute_rir()
    return [rir[0][pra.constants.get("frac_delay_length") // 2 :] for rir in box.rir]


def ours(room: Place, absorption: Numbers) -> list[Wave]:
    """The same by ours."""
    return [raw_response(room, 0, number, absorption, HERTZ, "bench") for number in range(len(room.microphones_m))]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def filtered(rir: Wave) -> Wave:
    """What both are compared after: the high-pass that every simulated response gets."""
    return np.asarray(sosfilt(high_pass(HERTZ), rir), dtype=np.float32)


def differences(room: Place, mine: Wave, theirs: Wave) -> tuple[float, float, float, float]:
    """Of one pair: energy decay over its first 30 dB (dB, the largest), T30 (share), C50 and DRR (dB)."""
    begin = arrivals(room, 0)[0]
    a, b = started(mine, begin), started(filtered(theirs), begin)
    one, other = measure(a), measure(b)
    curve, reference = schroeder_db(a), schroeder_db(b)
    first = int(np.argmax(reference < -30.0))
    t30 = abs(one.rt60_s / other.rt60_s - 1) if one.rt60_s and other.rt60_s else float(one.rt60_s != other.rt60_s)
    return float(np.abs(curve[:first] - reference[:first]).max()), t30, abs(one.c50_db - other.c50_db), abs(one.drr_db - other.drr_db)


def right(found: Sequence[tuple[float, float, float, float]]) -> str:
    """The share of rooms within each tolerance and the worst of each."""
    table, limits = np.array(found), np.array([0.5, 0.03, 0.25, 0.25])
    good, worst = 100 * np.mean(table <= limits, axis=0), table.max(axis=0)
    return (
        f"decay within 0.5 dB over 30 dB in {good[0]:.1f} % of rooms (worst {worst[0]:.2f} dB), "
        f"T30 within 3 % in {good[1]:.1f} % ({100 * worst[1]:.1f} %), "
        f"C50 within 0.25 dB in {good[2]:.1f} % ({worst[2]:.2f} dB), DRR in {good[3]:.1f} % ({worst[3]:.2f} dB)"
    )


def rendered(name: str, count: int, rt60_s: float, shape: Numbers, **changed: Any) -> Row:
    """Speed and rightness of responses whose absorption is known."""
    rooms = drawn(count, rt60_s, **changed)
    walls = [solve(room, 1, HERTZ, "bench", shape).absorption for room in rooms]
    mine, theirs, found = 0.0, 0.0, []
    for room, absorption in zip(rooms, walls, strict=True):
        spent, a = seconds(lambda room=room, absorption=absorption: ours(room, absorption))
        mine += spent
        spent, b = seconds(lambda room=room, absorption=absorption: peer(room, absorption))
        theirs += spent
        found.append(differences(room, a[0], b[0]))
    made = count * len(rooms[0].microphones_m)
    note = f"{count} rooms at RT60 {rt60_s} s, absorption known: {right(found)}"
    return Row(name, "responses/CPU s", made / mine, PEER, made / theirs, theirs / mine, note)


def corrected_by_peer(room: Place) -> int:
    """Responses the peer needs until one is within a tenth of the RT60, from its own start and with our rule of correction."""
    x, y, z = room.dims_m
    exponent = -float(np.log1p(-min(0.99, 24 * np.log(10) * x * y * z / (343 * 2 * (x * y + x * z + y * z) * room.rt60_asked_s))))
    made = 0
    while made < 6:
        made += 1
        rir = peer(room, np.array([-np.expm1(-exponent)]))[0]
        rt60_s = measure(started(filtered(rir), arrivals(room, 0)[0])).rt60_s
        if rt60_s is None or abs(rt60_s / room.rt60_asked_s - 1) <= ACCEPTED:
            break
        exponent *= rt60_s / room.rt60_asked_s
    return made


def verified(count: int, rt60_s: float) -> Row:
    """From an asked RT60 to a response whose measured RT60 is right."""
    rooms = drawn(count, rt60_s)
    mine, made = seconds(lambda: [solve(room, 4, HERTZ, "bench", np.ones(1)).tried_s for room in rooms])
    theirs, responses = seconds(lambda: [corrected_by_peer(room) for room in rooms])
    off = [abs((tried[-1] or np.inf) / rt60_s - 1) for tried in made]
    note = (
        f"{count} rooms asked for {rt60_s} s, {np.mean([len(tried) for tried in made]):.2f} responses a room until within 2 % "
        f"(worst {100 * max(off):.1f} %); the peer {np.mean(responses):.2f} until within 10 %"
    )
    return Row("rir_verified_0.8s", "responses/CPU s", count / mine, PEER, count / theirs, theirs / mine, note)


def peak_mb(work: Callable[[], Any]) -> float:
    """MB by which a call's peak of resident memory lies above what was resident before (Linux)."""

    def status(key: str) -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))

    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    work()
    return (status("VmHWM") - before) * 1024 / 1e6


def memory() -> Row:
    """Peak memory of the longest response that is asked for."""
    room = drawn(1, 1.5)[0]
    absorption = np.array([0.1])
    mine = peak_mb(lambda: ours(room, absorption))
    theirs = peak_mb(lambda: peer(Place(**{**vars(room), "rt60_asked_s": 0.8}), absorption))
    return Row("rir_memory_mb", "MB", mine, PEER, theirs, theirs / mine, "peak above the idle process: ours at RT60 1.5 s, the peer at 0.8 s")


def rows(count: int = 12) -> list[Row]:
    """All measurements of this file, `count` rooms each (half of them where a room takes the peer many seconds)."""
    pra.constants.set("num_threads", 1)
    flat, few = np.ones(1), max(1, count // 2)
    solve(drawn(1, 0.2)[0], 0, HERTZ, "bench", flat)  # compiles
    line = {"microphones": {"count": ARRAY, "pattern": "omni", "spacing_m": 0.05}}
    return [
        memory(),
        rendered("rir_ism_0.5s", count, 0.5, flat),
        rendered("rir_ism_0.8s", count, 0.8, flat),
        rendered("rir_ism_1.2s", few, 1.2, flat),
        verified(few, 0.8),
        rendered("rir_octave_bands", few, 0.5, 1.0 / np.array(TILT)),
        rendered("rir_array", few, 0.5, flat, **line),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=12)
    print(markdown(rows(parser.parse_args().rooms)))
