"""Responses of a place whose absorption is known: by our own image sources, or by pyroomacoustics, which agree.

The image model rings too long below 100 Hz, where reflections that are all positive add up; a high-pass takes that off.
A capped image order would be faster and wrong: it cuts the tail.
"""

import functools

import numpy as np
import pyroomacoustics as pra
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from tasks.common.audio import RATE, Wave
from tasks.common.seeds import rng_of
from tasks.rooms.bands import OCTAVES_HZ
from tasks.rooms.decay import FADE_S, Numbers, random_images
from tasks.rooms.draw import Place
from tasks.rooms.image import SPEED, image_sources

IMAGES = 0.8  # share of the RT60 with images; the Schroeder integral at -30 dB holds 2 % of what follows
OCTAVE_IMAGES = 1.0  # the same with octave bands, where the lowest ring on as modes, which a tail has not
IMAGES_S = 0.25  # and at least so long: earlier than that a sample is not yet the sum of several images
LENGTH = 1.2  # of the RT60, because a flat room keeps ringing after its T30


@functools.cache
def high_pass(hertz: float) -> NDArray[np.float64]:
    """Second-order sections of the Butterworth high-pass on simulated responses."""
    return np.asarray(butter(2, hertz, "highpass", fs=RATE, output="sos"))


def raw_response(room: Place, source: int, microphone: int, absorption: Numbers, hertz: float, seed: str) -> Wave:
    """(frames,) of one pair by our image sources: the lattice, then images at random places, the same for every microphone."""
    seconds = LENGTH * room.rt60_asked_s
    images_s = max((IMAGES if len(absorption) == 1 else OCTAVE_IMAGES) * room.rt60_asked_s, IMAGES_S)
    tail = None
    if images_s < seconds:
        tail = random_images(room.dims_m, images_s - FADE_S, seconds, -np.log1p(-absorption), rng_of("tail", seed, source))
    at = room.microphones_m[microphone]
    apart = [here - first for here, first in zip(at, room.microphones_m[0], strict=True)]
    made = image_sources(room.dims_m, room.sources_m[source], at, list(absorption), seconds, room.directivity, tail, apart)
    return np.asarray(sosfilt(high_pass(hertz), made), dtype=np.float32)


def pyroomacoustics_responses(room: Place, absorption: Numbers, hertz: float) -> list[list[Wave]]:
    """(source, microphone) responses by pyroomacoustics' image source model, of an order that reaches as far along the shortest side."""
    seconds = LENGTH * room.rt60_asked_s
    order = int(np.ceil(SPEED * seconds / min(room.dims_m)))
    walls = {"coeffs": list(absorption), "center_freqs": list(OCTAVES_HZ)} if len(absorption) > 1 else float(absorption[0])
    box = pra.ShoeBox(room.dims_m, fs=RATE, materials=pra.Material(walls), max_order=order)
    pattern = None if room.share == 1.0 else pra.directivities.CardioidFamily(np.array(room.aim), room.share)
    for microphone in room.microphones_m:
        box.add_microphone(microphone, directivity=pattern)
    for source in room.sources_m:
        box.add_source(source)
    box.compute_rir()
    late = pra.constants.get("frac_delay_length") // 2
    frames = int(seconds * RATE)
    return [
        [np.asarray(sosfilt(high_pass(hertz), box.rir[m][s][late : late + frames]), dtype=np.float32) for m in range(len(room.microphones_m))]
        for s in range(len(room.sources_m))
    ]


def arrivals(room: Place, source: int) -> list[int]:
    """Sample of the direct sound of a source at each microphone."""
    return [round(float(np.linalg.norm(np.subtract(room.sources_m[source], at))) / SPEED * RATE) for at in room.microphones_m]
