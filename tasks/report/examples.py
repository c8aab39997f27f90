"""Pairs to listen to: a noisy test mixture beside its clean clip, with every model's answer, the worst failures first."""

import base64
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from tasks.common.audio import RATE, Wave, decode
from tasks.common.seeds import content_id
from tasks.common.tables import read_rows
from tasks.evaluate.params import BASE, CORE
from tasks.report.gather import Rows, rows

# How many examples for each share of models that fail, worst first, and how few of one noise type among them.
_PLACES = (("all", 5), ("some", 4), ("none", 2))
_PER_NOISE = 2
# The page stays under 10 MB with base64's third on top.
_BUDGET = 6_000_000

_CANDIDATES = f"""
WITH heard AS (
  SELECT mixture_id, item_id, clip_id, noise_type, snr_db, task, target,
         list({{'method': method, 'text': text, 'answer': answer, 'correct': correct}}) AS replies,
         avg((NOT correct)::INT) AS wrong
  FROM answers WHERE condition = 'noisy' AND split_part(task, '/', 1) IN {CORE} GROUP BY ALL
)
SELECT heard.*, items.question, items.options, items.transcript, clean.mixture_id AS clean_id,
       mixtures.corruption, mixtures.snr_db_measured, base.answer AS clean_answer, base.correct AS clean_correct
FROM heard JOIN items USING (item_id) JOIN mixtures ON mixtures.mixture_id = heard.mixture_id
JOIN answers base ON base.item_id = heard.item_id AND base.condition = 'clean' AND base.method = '{BASE}'
JOIN mixtures clean ON clean.mixture_id = base.mixture_id
"""


def choose_examples(candidates: Rows) -> Rows:
    """Up to eleven rows: all models wrong, then some, then none.

    Within each, items that the un-adapted model answers rightly when clean come first, and among those the failures at the
    highest SNR (the least excusable) or the successes at the lowest; no noise type more than twice, no clip more than once.
    """
    chosen: Rows = []
    clips: set[str] = set()
    for kind, places in _PLACES:
        sign = 1.0 if kind == "none" else -1.0
        matching = [row for row in candidates if kind == ("all" if row["wrong"] == 1 else "none" if row["wrong"] == 0 else "some")]
        matching.sort(key=lambda row: (not row["clean_correct"], sign * row["snr_db"], content_id([row["mixture_id"], row["item_id"]])))
        per_noise: dict[str, int] = defaultdict(int)
        taken = 0
        for row in matching:
            if taken < places and per_noise[row["noise_type"]] < _PER_NOISE and row["clip_id"] not in clips:
                chosen.append(row)
                clips.add(row["clip_id"])
                per_noise[row["noise_type"]] += 1
                taken += 1
    return chosen


def spectrogram(wave: Wave) -> bytes:
    """PNG of the log power spectrum, 0 to 8 kHz from bottom to top, one column each 10 ms, 70 dB of range."""
    size, hop = 512, RATE // 100
    padded = np.pad(wave, (0, max(0, size - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    power: NDArray[np.float64] = np.square(np.abs(np.fft.rfft(frames, axis=1)))[:, : size // 2]
    level = 10.0 * np.log10(power + 1e-12)
    picture = level.reshape(len(level), -1, 2).max(axis=2).T
    buffer = io.BytesIO()
    top = float(picture.max())
    matplotlib.image.imsave(buffer, picture, vmin=top - 70.0, vmax=top, cmap="magma", origin="lower", format="png", metadata={"Software": "dinproof"})
    return buffer.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    """`data:<kind>;base64,...`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def examples(connection: duckdb.DuckDBPyConnection, methods: list[str], mixtures: Path) -> Rows:
    """The chosen rows with `noisy` and `clean`, each `{"audio", "picture", "seconds"}` as data URIs, within a budget of bytes."""
    chosen = choose_examples(rows(connection, _CANDIDATES))
    wanted = sorted({row[key] for row in chosen for key in ("mixture_id", "clean_id")})
    audio = {row["mixture_id"]: row["audio"]["bytes"] for row in read_rows(mixtures, ["mixture_id", "audio"], [("mixture_id", "in", wanted)])}
    kept: Rows = []
    spent = 0
    for row in chosen:
        sounds = {name: _sound(audio[row[key]]) for name, key in (("noisy", "mixture_id"), ("clean", "clean_id"))}
        spent += sum(len(audio[row[key]]) for key in ("mixture_id", "clean_id"))
        if spent > _BUDGET:
            break
        replies = sorted(row["replies"], key=lambda reply: methods.index(reply["method"]))
        kept.append({**row, **sounds, "replies": replies})
    return kept


def _sound(flac: bytes) -> dict[str, Any]:
    wave, rate = decode(flac)
    return {"audio": data_uri("audio/flac", flac), "picture": data_uri("image/png", spectrogram(wave)), "seconds": len(wave) / rate}
