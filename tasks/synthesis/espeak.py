"""Speech from espeak-ng by ctypes: text, voice, speed and pitch to a waveform, the same bits at every call.

espeak-ng keeps state in static variables: the same word differs with what was said before it. So every call loads the
library anew (about 3 ms) and seeds its generator, which makes the result a function of the arguments alone.
"""

import _ctypes
import ctypes
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave, resample
from tasks.common.errors import UserError

# Constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS, _CHARS_UTF8 = 2, 1
_RATE_WPM, _VOLUME, _PITCH = 1, 2, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def say(text: str, voice: str, speed_wpm: int = 175, pitch: int = 50) -> Wave:
    """`text` as (frames,) float32 at 16 kHz, silence around it removed. Raises UserError for an unknown voice."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        pcm, rate = _synthesise(library, text, voice, speed_wpm, pitch)
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
    return trim(resample(pcm.astype(np.float32) / 32768.0, rate))


def _synthesise(library: Any, text: str, voice: str, speed_wpm: int, pitch: int) -> tuple[NDArray[np.int16], int]:
    chunks: list[NDArray[np.int16]] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(collect)  # named, so that it outlives the synthesis
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    library.espeak_SetSynthCallback(callback)
    variant = voice.partition("+")[2]  # espeak-ng passes over one that it does not know
    known = not variant or Path(espeakng_loader.get_data_path(), "voices", "!v", variant).is_file()
    if not known or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise UserError("params.yaml, synthesis", f"espeak-ng has no voice '{voice}'", "Write it as <voice file>+<variant>, e.g. gmw/en-US+m3")
    library.espeak_SetParameter(_RATE_WPM, speed_wpm, 0)
    library.espeak_SetParameter(_VOLUME, 70, 0)  # of 100, at which the loudest voices clip
    library.espeak_SetParameter(_PITCH, pitch, 0)
    data = text.encode()
    library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    return (np.concatenate(chunks) if chunks else np.zeros(0, np.int16)), rate


def trim(wave: Wave, gate_db: float = 40.0, margin_s: float = 0.01) -> Wave:
    """(frames,) at 16 kHz without what lies more than `gate_db` below its loudest 10 ms at either end."""
    size = RATE // 100
    if len(wave) < size:
        return wave
    power = np.convolve(np.square(wave, dtype=np.float64), np.full(size, 1.0 / size), mode="same")
    active = np.flatnonzero(power > power.max() * 10.0 ** (-gate_db / 10.0))
    if active.size == 0:
        return wave
    margin = int(margin_s * RATE)
    return wave[max(0, active[0] - margin) : active[-1] + 1 + margin]
