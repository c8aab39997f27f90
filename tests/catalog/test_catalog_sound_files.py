"""Reading sound files: the fast way of plain 16-bit files gives what libsndfile's own conversion gives."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tasks.catalog.sound_files import SoundReader


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("aiff", "PCM_16"), ("au", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "ULAW"), ("flac", "PCM_16")],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_catalog_samples_are_those_of_libsndfile(tmp_path: Path, suffix: str, subtype: str, channels: int) -> None:
    path = tmp_path / f"sound.{suffix}"
    samples = np.random.default_rng(0).uniform(-1, 1, (5000, channels))
    samples[:2] = [[-1.0], [1.0]]
    sf.write(path, samples, 16_000, subtype=subtype)
    expected, _ = sf.read(path, dtype="float32", always_2d=True)
    with SoundReader(path) as sound:
        for start, end in ((0, 5000), (100, 777), (4000, 5000), (0, 1)):
            got = sound.read(start, end)
            assert got.dtype == np.float32 and np.array_equal(got, expected[start:end])
