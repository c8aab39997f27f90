"""The image sources against pyroomacoustics' full image source model: the tests' peer, order and all."""

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sosfilt

from tasks.common.audio import RATE, Wave
from tasks.common.seeds import rng_of
from tasks.rooms.bands import OCTAVES_HZ, octave_filters
from tasks.rooms.draw import Place, point
from tasks.rooms.image import SPEED, image_sources
from tasks.rooms.measure import measure, schroeder_db, started
from tasks.rooms.render import arrivals, high_pass, raw_response
from tasks.rooms.simulate import solve

FLAT, TILTED = np.ones(1), 1.0 / np.array([1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.6])
AHEAD = (float(np.sqrt(0.5)), float(np.sqrt(0.5)), 0.0)


def random_place(seed: int, rt60_s: float, microphones: int = 1, share: float = 1.0) -> Place:
    rng = rng_of("test_rooms_image", seed)
    dims = point([rng.uniform(*span) for span in ((3, 7), (2.5, 5), (2.4, 3.2))])
    source, first = (point([rng.uniform(0.4, side - 0.4) for side in dims]) for _ in range(2))
    line = tuple(point([first[0], first[1], first[2] + 0.03 * number]) for number in range(microphones))
    return Place(rt60_s, dims, (source,), line, share, AHEAD)


def reference(room: Place, absorption: np.ndarray) -> list[Wave]:
    """High-passed responses of pyroomacoustics, complete up to the RT60."""
    x, y, z = room.dims_m
    order = int(np.ceil(SPEED * room.rt60_asked_s / min(a * b / np.hypot(a, b) for a, b in ((x, y), (x, z), (y, z))) - 1))
    walls = {"coeffs": list(absorption), "center_freqs": list(OCTAVES_HZ)} if len(absorption) > 1 else float(absorption[0])
    box = pra.ShoeBox(room.dims_m, fs=RATE, materials=pra.Material(walls), max_order=order)
    box.add_source(room.sources_m[0])
    pattern = None if room.share == 1.0 else pra.directivities.CardioidFamily(np.array(room.aim), room.share)
    for at in room.microphones_m:
        box.add_microphone(at, directivity=pattern)
    box.compute_rir()
    return [sosfilt(high_pass(100.0), rir[0][40:]).astype(np.float32) for rir in box.rir]


def agree(room: Place, shape: np.ndarray = FLAT, microphone: int = 0) -> None:
    """With the absorption that gives the place its RT60, within the tolerances that docs/rooms.md states."""
    absorption = solve(room, 1, 100.0, "test", shape).absorption
    begin = arrivals(room, 0)[microphone]
    ours = started(raw_response(room, 0, microphone, absorption, 100.0, "test"), begin)
    theirs = started(reference(room, absorption)[microphone], begin)
    curve, known = schroeder_db(ours), schroeder_db(theirs)
    first = int(np.argmax(known < -30.0))
    assert np.abs(curve[:first] - known[:first]).max() < 0.5
    assert np.corrcoef(ours[:first], theirs[:first])[0, 1] > 0.98
    one, other = measure(ours), measure(theirs)
    assert one.rt60_s == pytest.approx(other.rt60_s, rel=0.03)
    assert one.c50_db == pytest.approx(other.c50_db, abs=0.25)
    assert one.drr_db == pytest.approx(other.drr_db, abs=0.25)


@pytest.mark.parametrize(("seed", "rt60_s"), [(0, 0.2), (1, 0.35), (2, 0.5), (3, 0.5), (4, 0.6)])
def test_rooms_image_sources_agree_with_pyroomacoustics(seed: int, rt60_s: float) -> None:
    agree(random_place(seed, rt60_s))


@pytest.mark.parametrize("share", [0.5, 0.25, 0.0])
def test_rooms_directive_microphones_agree_with_pyroomacoustics(share: float) -> None:
    agree(random_place(5, 0.35, share=share))


def test_rooms_octave_bands_agree_with_pyroomacoustics() -> None:
    agree(random_place(6, 0.35), TILTED)


def test_rooms_last_microphone_of_an_array_agrees_with_pyroomacoustics() -> None:
    agree(random_place(7, 0.4, microphones=3), microphone=2)


@pytest.mark.parametrize("seed", [8, 9, 10, 12])
def test_rooms_tail_goes_on_where_the_lattice_would(seed: int) -> None:
    """Energy in steps of 25 ms beside that of a lattice complete to the end, whose own sharp end is left out; a click would stand out."""
    room = random_place(seed, 0.5)
    absorption = solve(room, 1, 100.0, "test", FLAT).absorption
    ours = raw_response(room, 0, 0, absorption, 100.0, "test")
    lattice = image_sources(room.dims_m, room.sources_m[0], room.microphones_m[0], list(absorption), 0.6)
    lattice = sosfilt(high_pass(100.0), lattice).astype(np.float32)
    power = [np.square(rir[int(0.3 * RATE) :]).reshape(-1, RATE // 40).mean(axis=1)[:-2] for rir in (ours, lattice)]
    above = 10 * np.log10(power[0] / power[1])
    assert abs(above.mean()) < 2.5 and above.max() < 3.5
    assert not np.array_equal(ours[int(0.4 * RATE) :], lattice[int(0.4 * RATE) :]), "a tail, not the lattice"


@pytest.mark.parametrize("rt60_s", [0.8, 1.2])
def test_rooms_tail_begins_late_enough(rt60_s: float) -> None:
    """Beside a lattice complete to the RT60, which the tests above hold to pyroomacoustics at RT60s that it is quick at."""
    for seed in range(20, 26):
        room = random_place(seed, rt60_s)
        absorption = solve(room, 1, 100.0, "test", FLAT).absorption
        begin = arrivals(room, 0)[0]
        ours = started(raw_response(room, 0, 0, absorption, 100.0, "test"), begin)
        lattice = image_sources(room.dims_m, room.sources_m[0], room.microphones_m[0], list(absorption), rt60_s)
        whole = started(sosfilt(high_pass(100.0), lattice).astype(np.float32), begin)
        curve, known = schroeder_db(ours), schroeder_db(whole)
        first = int(np.argmax(known < -30.0))
        assert np.abs(curve[:first] - known[:first]).max() < 0.3
        assert measure(ours).rt60_s == pytest.approx(measure(whole).rt60_s, rel=0.02)


def test_rooms_microphones_hear_one_tail() -> None:
    """Two microphones a millimetre apart are nearly one, to the end; tails of noise of their own would not be."""
    room = random_place(9, 0.4)
    first = room.microphones_m[0]
    pair = Place(**{**vars(room), "microphones_m": (first, point([first[0] + 0.001, *first[1:]]))})
    one, other = (raw_response(pair, 0, number, np.array([0.3]), 100.0, "test")[int(0.38 * RATE) :] for number in range(2))
    assert np.corrcoef(one, other)[0, 1] > 0.98


def test_rooms_direct_sound_arrives_when_and_as_loud_as_it_should() -> None:
    rir = image_sources([5.0, 4.0, 3.0], [1.0, 2.0, 1.5], [3.0, 2.0, 1.5], 0.999999, 0.1)
    arrival = 2.0 / SPEED * RATE
    assert abs(int(np.argmax(rir)) - arrival) <= 0.5
    assert float(np.sum(rir.astype(np.float64) ** 2)) == pytest.approx((1 / (4 * np.pi * 2.0)) ** 2, rel=0.03)


def test_rooms_equal_octaves_are_one_band() -> None:
    place = ([5.0, 4.0, 3.0], [1.0, 2.0, 1.5], [3.0, 2.3, 1.2])
    whole, split = image_sources(*place, 0.3, 0.2), image_sources(*place, [0.3] * 7, 0.2)
    assert np.abs(whole - split).max() < 1e-5 * np.abs(whole).max()
    assert octave_filters(4096).sum(axis=0) == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), axes=st.permutations(range(3)))
def test_rooms_source_and_microphone_may_change_places_and_axes_names(seed: int, axes: list[int]) -> None:
    """Reciprocity, and no axis is special."""
    room = random_place(seed, 0.3)
    dims, source, microphone = room.dims_m, room.sources_m[0], room.microphones_m[0]
    there = image_sources(dims, source, microphone, 0.4, 0.15)
    back = image_sources(*([where[axis] for axis in axes] for where in (dims, microphone, source)), 0.4, 0.15)
    # Rounding in single precision moves a few images by one point of the grid.
    assert np.sum((there - back) ** 2) < 1e-3 * np.sum(there**2)
