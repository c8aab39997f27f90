"""Single words of one speaker to an utterance of known words and times; a pure function, fast enough to run on the fly."""

import numpy as np

from tasks.common.audio import RATE, Wave

GAP_S = (0.04, 0.14)  # silence between words: they stay apart, and three of them fit
LEAD_S = (0.02, 0.14)  # silence before the first word and after the last
MAX_S = 2.0  # the window of the embedded model
LEVEL_DBFS = -24.0
LEVEL_SPREAD_DB = 1.5  # people do not speak every word at one level
PEAK = 0.95


def compose(
    words: list[Wave],
    rng: np.random.Generator,
    gap_s: tuple[float, float] = GAP_S,
    lead_s: tuple[float, float] = LEAD_S,
    max_s: float = MAX_S,
) -> tuple[Wave, list[float], list[float]]:
    """Words one after another, each near one level, with random gaps and a random lead and tail.

    Args:
        words: waveforms (frames,) at 16 kHz, in the order they are spoken.
        rng: draws gaps, lead, tail and levels; the draws do not depend on the words.
        gap_s: range of the gaps in seconds.
        lead_s: range of the lead and of the tail in seconds.
        max_s: the utterance is never longer; words that do not fit are dropped from the end, never cut.

    Returns:
        The utterance (frames,) and the start and end of every word kept, in seconds.

    Raises:
        ValueError: not even the first word fits.
    """
    lead, tail = (int(RATE * seconds) for seconds in rng.uniform(*lead_s, 2))
    gaps = (RATE * rng.uniform(*gap_s, len(words))).astype(int)
    gains_db = LEVEL_DBFS + rng.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB, len(words))
    starts: list[int] = []
    ends: list[int] = []
    at = lead
    for word, gap in zip(words, gaps, strict=True):
        start = at + int(gap) * bool(starts)
        if start + len(word) > int(RATE * max_s):
            break
        starts.append(start)
        at = start + len(word)
        ends.append(at)
    if not starts:
        raise ValueError(f"no word fits into {max_s} s")
    utterance = np.zeros(min(at + tail, int(RATE * max_s)), dtype=np.float32)
    for word, start, gain_db in zip(words, starts, gains_db, strict=False):
        rms = float(np.sqrt(np.mean(np.square(word, dtype=np.float64))))
        gain = min(10.0 ** (gain_db / 20.0) / max(rms, 1e-9), PEAK / max(float(np.abs(word).max()), 1e-9))
        utterance[start : start + len(word)] = word * np.float32(gain)
    return utterance, [start / RATE for start in starts], [end / RATE for end in ends]
