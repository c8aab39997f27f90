"""How a sample of the test mixtures sounds, as it is and behind every denoiser: PESQ, STOI, SI-SDR, DNSMOS.

The first three compare with a reference: the speech of the mixture in its room, at the mixture's level, without the noise and
without the effects, so an effect counts as damage and the room does not. DNSMOS needs none. A measure without a value is null, and
`reason` says why: `pesq:too_short`, `stoi:too_short`, ... (docs/quality.md).
"""

import json
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.catalog.audio import load_clips
from tasks.common.audio import RATE, Wave
from tasks.common.fanout import FanOut
from tasks.common.seeds import choose_many, content_id
from tasks.common.tables import read_rows, write_parquet
from tasks.common.versions import made_by
from tasks.denoise import DENOISERS, module
from tasks.evaluate.grid import filtered
from tasks.evaluate.params import EvaluateParams
from tasks.mix.finish import CATALOG, parts_of, responses
from tasks.mix.read import mixture_rows, waves_of
from tasks.mix.render import Renderer
from tasks.mix.shards import one_thread

QUALITY = Path("reports/quality.parquet")
NONE = "none"  # the front end that leaves the mixture as it is
MEASURES = ("pesq", "stoi", "estoi", "si_sdr_db", "dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
SCHEMA = pa.schema(
    [
        ("mixture_id", pa.string()),
        ("noise_type", pa.string()),
        ("snr_db", pa.float64()),
        ("front_end", pa.string()),
        *((name, pa.float64()) for name in MEASURES),
        ("reason", pa.string()),
        ("key", pa.string()),
    ]
)
SHARD = 8  # mixtures: some seconds with four front ends
LONGEST_PESQ_S = 20.0  # the library writes past its table of 50 utterances, each with its pause 0.4 s or longer, and takes the process down
WINDOW = 144_160  # samples that DNSMOS hears at a time: 9.01 s
# From the network's output to mean opinion scores: DNS-Challenge, DNSMOS/dnsmos_local.py, sig_bak_ovr.onnx.
CURVES = ((-0.08397278, 1.22083953, 0.0052439), (-0.13166888, 1.60915514, -0.39604546), (-0.06766283, 1.11546468, 0.04602535))
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Rows of mixtures, each with the front ends still to measure it behind, and their speech clips' rows of the catalog."""

    mixtures: tuple[tuple[Row, tuple[str, ...]], ...]
    clips: tuple[Row, ...]


def pesq(reference: Wave, wave: Wave) -> float | str:
    """Wide-band PESQ (ITU-T P.862.2, MOS-LQO of 1 to 4.64) of (frames,), or the reason it has none."""
    if find_spec("pesq") is None:
        return "not_installed"
    import pesq as library

    if len(wave) > LONGEST_PESQ_S * RATE:
        return "too_long"
    try:
        return float(library.pesq(RATE, reference, wave, "wb"))
    except library.NoUtterancesError:
        return "no_utterance"
    except library.BufferTooShortError:
        return "too_short"


def stoi(reference: Wave, wave: Wave, extended: bool = False) -> float | str:
    """Short-time objective intelligibility of (frames,) (Taal et al. 2011), or the extended one (Jensen and Taal 2016), at most 1.

    The reason `too_short` where less than 0.4 s remains without the pauses.
    """
    from pystoi import stoi as library

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # it warns, and returns 1e-5
        try:
            return float(library(reference, wave, RATE, extended=extended))
        except RuntimeWarning:
            return "too_short"


def si_sdr_db(reference: Wave, wave: Wave) -> float:
    """Scale-invariant signal-to-distortion ratio of (frames,) in dB (Le Roux et al. 2019), means removed."""
    import torch
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    found, target = (torch.from_numpy(part.astype(np.float64)) for part in (wave, reference))
    return float(scale_invariant_signal_distortion_ratio(found, target, zero_mean=True))


@cache
def _dnsmos() -> Any:
    """The network of DNSMOS from the wheel of speechmos, on one thread; its Python wants librosa for a score not used here."""
    import onnxruntime

    spec = find_spec("speechmos")
    assert spec is not None and spec.submodule_search_locations is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = Path(spec.submodule_search_locations[0]) / "dnsmos_models/sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def dnsmos(wave: Wave) -> tuple[float, float, float]:
    """DNSMOS P.835 (Reddy et al. 2022) of (frames,): mean opinion scores of the speech, the background and the whole, 1 to 5.

    As the published script: windows of 9.01 s, a second apart, and their mean. A shorter clip is repeated, and heard in one window.
    """
    heard = np.clip(wave if len(wave) >= WINDOW else np.resize(wave, WINDOW), -1.0, 1.0)
    windows = max(1, len(heard) // RATE - WINDOW // RATE)  # the script's count, over whole seconds
    raw = [_dnsmos().run(None, {"input_1": heard[None, at * RATE : at * RATE + WINDOW]})[0][0] for at in range(windows)]
    speech, background, overall = (float(np.mean(np.polyval(curve, scores))) for curve, scores in zip(CURVES, np.transpose(raw), strict=True))
    return speech, background, overall


def measured(reference: Wave, wave: Wave) -> Row:
    """Every measure of (frames,) at 16 kHz against as many of the reference, and the reasons of those that have no value."""
    values: dict[str, float | str] = dict.fromkeys(MEASURES, "silent")
    if np.ptp(wave) > 0.0:
        values |= zip(("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"), dnsmos(wave), strict=True)
        if np.ptp(reference) > 0.0:
            values |= {"pesq": pesq(reference, wave), "stoi": stoi(reference, wave), "estoi": stoi(reference, wave, extended=True)}
            values["si_sdr_db"] = si_sdr_db(reference, wave)
    reasons = [f"{name}:{value}" for name, value in values.items() if isinstance(value, str)]
    return {name: None if isinstance(value, str) else round(value, 4) for name, value in values.items()} | {"reason": ",".join(reasons) or None}


def measure(job: Job) -> list[Row]:
    """Rows of the table, in the order of the job's mixtures and front ends."""
    with one_thread():
        heard = waves_of([mixture["mixture_id"] for mixture, _ in job.mixtures])
        spoken = load_clips([dict(clip) for clip in job.clips])
        renderer = Renderer(responses({mixture["room_id"] for mixture, _ in job.mixtures if mixture["room_id"]}).__getitem__)
        rows = []
        for mixture, front_ends in job.mixtures:
            recipe = {name: value for name, value in json.loads(mixture["recipe"]).items() if name in ("speech", "room")}
            reference = renderer.mix(**parts_of(recipe, mixture["recipe"], spoken), level_dbfs=mixture["level_dbfs"]).wave
            for front_end in front_ends:
                wave = heard[mixture["mixture_id"]]
                row = measured(reference, wave if front_end == NONE else DENOISERS[front_end](wave))
                named = {name: mixture[name] for name in ("mixture_id", "noise_type", "snr_db")}
                rows.append({**named, "front_end": front_end, **row, "key": key_of(mixture["recipe_hash"], front_end)})
    return rows


def key_of(recipe_hash: str, front_end: str) -> str:
    """Names a row by all it depends on: the mixture as rendered, and the code and libraries of measures and denoiser."""
    return content_id([recipe_hash, front_end, made_by("tasks.evaluate.quality", *([] if front_end == NONE else [module(front_end)]))])


def sample(mixtures: Sequence[Mapping[str, Any]], per_cell: int) -> list[Row]:
    """`per_cell` noisy mixtures of every noise type and SNR, chosen by content, in the order of types, levels and ids."""
    cells: dict[tuple[str, float], dict[str, Row]] = defaultdict(dict)
    for row in mixtures:
        if row["snr_db"] is not None:
            cells[row["noise_type"], row["snr_db"]][row["mixture_id"]] = dict(row)
    return [cell[name] for _, cell in sorted(cells.items()) for name in sorted(choose_many(sorted(cell), per_cell, "quality"))]


def measure_quality(front_ends: Sequence[str], mixtures: Sequence[Row], fan_out: FanOut, known: Mapping[str, Row]) -> list[Row]:
    """Rows of the table for every mixture and front end; those of `known`, by key, are not measured again."""
    front_ends = [NONE, *front_ends]
    missing = [(mixture, tuple(name for name in front_ends if key_of(mixture["recipe_hash"], name) not in known)) for mixture in mixtures]
    missing = [(mixture, names) for mixture, names in missing if names]
    wanted = [("clip_id", "in", {mixture["clip_id"] for mixture, _ in missing})]
    columns = ["clip_id", "path", "sha256", "sampling_rate", "metadata"]
    clips = {row["clip_id"]: row for row in read_rows(CATALOG / "speech.parquet", columns, wanted)} if missing else {}
    jobs = []
    for start in range(0, len(missing), SHARD):
        shard = tuple(missing[start : start + SHARD])
        jobs.append(Job(shard, tuple(clips[name] for name in sorted({mixture["clip_id"] for mixture, _ in shard}))))
    rows = {**known, **{row["key"]: row for found in fan_out(measure, jobs, "audio quality") for row in found}}
    return [rows[key_of(mixture["recipe_hash"], name)] for mixture in mixtures for name in front_ends]


def write_quality(params: EvaluateParams, fan_out: FanOut) -> tuple[int, int]:
    """Write reports/quality.parquet, for the denoisers among the front ends of the parameters; returns how many rows are new and how many kept."""
    asked = {name for names in params.front_ends.values() for name in names}
    mixtures = sample(filtered(mixture_rows(filters=[("split", "=", "test")]), params), params.quality_per_cell)
    earlier = read_rows(QUALITY) if QUALITY.is_file() else []
    known = {row["key"]: row for row in earlier if row.keys() == set(SCHEMA.names)}
    rows = measure_quality([name for name in DENOISERS if name in asked], mixtures, fan_out, known)
    write_parquet(QUALITY, rows, SCHEMA, row_group=65536)
    kept = sum(row["key"] in known for row in rows)
    return len(rows) - kept, kept
