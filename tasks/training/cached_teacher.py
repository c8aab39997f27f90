"""CAAD's teacher from disk: top-k and tail along every Pseudo-GT, computed once a backbone instead of in every step.

The cache is content-keyed and known to no stage, so it may be deleted at any time; what it gives is the live teacher's up to its rounding and
its evenly spread tail (tasks.pseudo_gt.cache; `python -m bench teacher_cache` has the error).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tasks.common.audio import Wave
from tasks.engines import Request, load_generator, model_revision
from tasks.items.prompt import text_only
from tasks.pseudo_gt.cache import Forced, fill, read_cache, spread, unpack
from tasks.training.data import Row, taught

CACHE = Path("data/.parts/teacher")


def remembered(rows: Sequence[Row], waves: Mapping[str, Wave], paths: Sequence[str], backbone: Path, k: int) -> dict[tuple[str, str], Row]:
    """Packed distributions of every row with a clean teacher, by item and path (`clean`, `silence`, `drop_audio`, `keep_transcript`).

    Silence is as long as the clean clip here; the live teacher's is as long as what the student hears.
    """
    forced: dict[tuple[str, str], Forced] = {}
    for row in filter(taught, rows):
        wave = waves[row["clip_id"]]
        silence = Request(row["prompt"], np.zeros_like(wave))
        requests = {
            "clean": Request(row["prompt"], wave),
            "silence": silence,
            "drop_audio": Request(row["prompt"]),
            "keep_transcript": replace(silence, prompt=text_only(row["transcript"] or "", row["prompt"])),
        }
        for path in paths:
            request = requests[path]
            forced[row["item_id"], path] = Forced(row["item_id"], row["clip_id"], path, request, row["pseudo_gt_token_ids"])
    revision, threads = model_revision(backbone), torch.get_num_threads()
    fill(CACHE, lambda: load_generator("transformers", backbone), list(forced.values()), revision, k)
    torch.set_num_threads(threads)  # the engine sets its own
    cache = read_cache(CACHE)
    return {name: cache[one.key(revision, k)] for name, one in forced.items()}


def teacher_logits(kept: Mapping[tuple[str, str], Mapping[str, Any]], items: Sequence[str], path: str, length: int, head: Tensor) -> Tensor:
    """Log-probabilities (B, length, V) of the cached teacher along the responses to B items; zeros after a response's end and for an untaught item.

    `head` is the model's output head (V, width), whose type and place the result takes.
    """
    size = len(head)
    known = [spread(unpack(kept[item, path]), size) if (item, path) in kept else torch.zeros(0, size) for item in items]
    return pad_sequence([*known, torch.zeros(length, size)], batch_first=True)[:-1].to(head)
