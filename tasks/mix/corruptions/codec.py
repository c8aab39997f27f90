"""Through a codec of libsndfile and back: nominal level in, decoded samples out, as long as they were and where they were."""

import io

import numpy as np
import soundfile as sf

from tasks.common.audio import RATE, Wave, active_power
from tasks.common.errors import UserError

# The encoders live inside soundfile's wheel, so these two versions say which ones decide the bits.
CODER = f"libsndfile {sf.__libsndfile_version__} (soundfile {sf.__version__})"
NOMINAL_DBOV = -26.0  # active speech level at which ITU-T tests codecs (P.830, G.191)
PEAK = 0.99


def nominal_gain(wave: Wave) -> float:
    """Gain to the nominal level, or to a peak of 0.99 where that comes first; 0 for silence."""
    power = active_power(wave)
    if power <= 0.0:
        return 0.0
    return min(10.0 ** (NOMINAL_DBOV / 20.0) / power**0.5, PEAK / float(np.abs(wave).max()))


def coded(
    wave: Wave, container: str, subtype: str, coder: str, *, rate: int = RATE, compression: float | None = None, bitrate_mode: str | None = None
) -> Wave:
    """(frames,) encoded and decoded in memory; what the decoder gives, from its first frame on.

    Args:
        wave: samples at any level; they are coded at the nominal one and come back at their own.
        container: libsndfile's name of the file format.
        subtype: libsndfile's name of the encoding.
        coder: `CODER` as the recipe was drawn.
        rate: sampling rate in Hz.
        compression: libsndfile's compression level, 0 (large) to 1 (small).
        bitrate_mode: as in `soundfile.write`.

    Raises:
        UserError: the recipe was drawn for another libsndfile, whose bits differ.
    """
    if coder != CODER:
        raise UserError("mix", f"the plan was made with {coder}, this is {CODER}", "Give every worker the same environment, and run mix again")
    gain = nominal_gain(wave)
    if gain == 0.0:
        return np.zeros_like(wave)
    file = io.BytesIO()
    sf.write(file, wave * np.float32(gain), rate, format=container, subtype=subtype, compression_level=compression, bitrate_mode=bitrate_mode)
    file.seek(0)
    decoded: Wave = sf.read(file, dtype="float32")[0]
    return decoded * np.float32(1.0 / gain)
