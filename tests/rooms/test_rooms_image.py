"""The image sources against pyroomacoustics' full image source model."""

import numpy as np
import pyroomacoustics as pra
import pytest
from scipy.signal import butter, sosfilt

from tasks.common.audio import RATE
from tasks.common.seeds import rng_of
from tasks.rooms.image import SPEED, image_sources
from tasks.rooms.measure import aligned, measure, schroeder_db


@pytest.mark.parametrize(("seed", "rt60_s"), [(0, 0.2), (1, 0.35), (2, 0.5)])
def test_rooms_image_sources_agree_with_pyroomacoustics(seed: int, rt60_s: float) -> None:
    rng = rng_of("test_rooms_image", seed)
    dims = [float(rng.uniform(*span)) for span in ((3, 7), (2.5, 5), (2.4, 3.2))]
    source, microphone = ([float(rng.uniform(0.4, side - 0.4)) for side in dims] for _ in range(2))
    absorption, order = pra.inverse_sabine(rt60_s, dims)
    box = pra.ShoeBox(dims, fs=RATE, materials=pra.Material(absorption), max_order=order)
    box.add_source(source)
    box.add_microphone(microphone)
    box.compute_rir()
    ours = image_sources(dims, source, microphone, absorption, rt60_s)

    high_pass = butter(2, 100, "highpass", fs=RATE, output="sos")
    theirs, ours = (aligned(sosfilt(high_pass, raw).astype(np.float32))[: int(0.9 * rt60_s * RATE)] for raw in (box.rir[0][0], ours))
    frames = int(0.7 * rt60_s * RATE)
    assert np.abs(schroeder_db(theirs)[:frames] - schroeder_db(ours)[:frames]).max() < 0.3
    assert np.corrcoef(theirs, ours)[0, 1] > 0.99
    assert measure(ours).rt60_s == pytest.approx(measure(theirs).rt60_s, rel=0.01)
    assert measure(ours).c50_db == pytest.approx(measure(theirs).c50_db, abs=0.1)


def test_rooms_direct_sound_arrives_when_and_as_loud_as_it_should() -> None:
    rir = image_sources([5.0, 4.0, 3.0], [1.0, 2.0, 1.5], [3.0, 2.0, 1.5], 0.999999, 0.1)
    arrival = 2.0 / SPEED * RATE
    assert abs(int(np.argmax(rir)) - arrival) <= 0.5
    assert float(np.sum(rir.astype(np.float64) ** 2)) == pytest.approx((1 / (4 * np.pi * 2.0)) ** 2, rel=0.03)
