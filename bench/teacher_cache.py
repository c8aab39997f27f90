"""What keeping k tokens and a tail of the teacher's distributions costs: nats against full logits, and bytes a token.

Real distributions: the trained backbone along Pseudo-GTs of the build, with the clean clip (z+), with silence (z-), and the CAAD target made of both.
They are those of a small vocabulary. A synthetic one of 150,000 tokens stands in for a large model: logits fall with the logarithm of a token's
rank (Zipf), as steeply as a draw between 1 (a text without context) and 3 says, with noise of one nat.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.table import Row
from tasks.catalog.audio import load_clips
from tasks.common.params import load
from tasks.common.seeds import rng_of
from tasks.common.tables import read_rows
from tasks.engines import Request, load_generator, model_revision
from tasks.items.prompt import prompt_text
from tasks.pseudo_gt.cache import Forced, fill, kl_of_cache, pack, spread, top_k, unpack
from tasks.training.objectives import contrastive_logits, token_kl
from tasks.training.params import TrainingParams

BACKBONE = Path("models/backbone")
TOKENS = 1000
VOCABULARY = 150_000
KS = (5, 20, 50)


def responses() -> list[tuple[Forced, Forced]]:
    """(with the clip, with silence) along Pseudo-GTs of held-out items, enough for TOKENS tokens."""
    items = {item["item_id"]: item for item in read_rows(Path("data/items.parquet")) if item["split"] == "test" and item["transcript"]}
    clips = {row["clip_id"]: row for row in read_rows(Path("data/catalog/speech.parquet"))}
    rows = [row for row in read_rows(Path("data/pseudo_gt"), ["item_id", "token_ids"]) if row["item_id"] in items]
    chosen, count = [], 0
    for row in sorted(rows, key=lambda row: row["item_id"]):
        chosen.append(row)
        count += len(row["token_ids"])
        if count >= TOKENS:
            break
    waves = load_clips([clips[clip_id] for clip_id in sorted({items[row["item_id"]]["clip_id"] for row in chosen})])
    pairs = []
    for row in chosen:
        item = items[row["item_id"]]
        prompt, wave = prompt_text(item["question"], item["options"]), waves[item["clip_id"]]
        named = (item["item_id"], item["clip_id"])
        heard = Forced(*named, "clean", Request(prompt, wave), row["token_ids"])
        pairs.append((heard, Forced(*named, "silence", Request(prompt, np.zeros_like(wave)), row["token_ids"])))
    return pairs


def synthetic(ks: Sequence[int]) -> dict[int, tuple[Tensor, float]]:
    """For each k (KL at TOKENS places, mean tail mass) of distributions over VOCABULARY tokens."""
    rng = rng_of("bench", "teacher_cache")
    kls: dict[int, list[Tensor]] = {k: [] for k in ks}
    masses: dict[int, list[float]] = {k: [] for k in ks}
    ranks = np.log(np.arange(1, VOCABULARY + 1))
    # A few places at a time: each takes a megabyte, several times over.
    for _ in range(TOKENS // 20):
        logits = torch.from_numpy(rng.standard_normal((20, VOCABULARY)) - rng.uniform(1.0, 3.0, (20, 1)) * ranks)
        for k in ks:
            kls[k].append(kl_of_cache(logits, k))
            masses[k].append(tail_mass(logits, k))
    return {k: (torch.cat(kls[k]), float(np.mean(masses[k]))) for k in ks}


def target_kl(heard: Tensor, unheard: Tensor, k: int, params: TrainingParams) -> float:
    """Mean KL in nats of CAAD's target from the cache against the one from full logits (T, V), at the temperature it is learnt at."""
    size = heard.shape[1]
    cached = [spread(unpack(pack(top_k(logprobs, k))), size) for logprobs in (heard, unheard)]
    alpha, tau = params.caad.alpha, params.caad.tau
    exact, kept = contrastive_logits(heard, unheard, alpha) / tau, contrastive_logits(cached[0], cached[1], alpha) / tau
    return float(token_kl(exact[None], kept[None], torch.ones(1, len(heard)))[0])


def described(kl: Tensor, mass: float, on: str) -> str:
    return f"{on}; worst of {len(kl)} tokens {float(kl.max()):.2g}, tail mass {mass:.2g}"


def tail_mass(logits: Tensor, k: int) -> float:
    """Mean probability outside the top k."""
    return float(np.exp(top_k(logits.double().log_softmax(-1), k).tail).mean())


def rows() -> list[Row]:
    """KL of the cache for each k on real and synthetic distributions, and its size."""
    torch.set_num_threads(1)
    params = load("training", TrainingParams)
    pairs = responses()
    generator = load_generator("transformers", BACKBONE)
    heard, unheard = (
        torch.cat(generator.distributions([one.request for one in side], [one.token_ids for one in side]))[:TOKENS]
        for side in zip(*pairs, strict=True)
    )
    found, zipf = [], synthetic(KS)
    for k in KS:
        for name, logits in (("z+", heard), ("z-", unheard)):
            kl = kl_of_cache(logits, k)
            on = f"trained backbone, {name}, vocabulary {logits.shape[1]}"
            found.append(Row(f"teacher_cache_{name}_k{k}", "nats", float(kl.mean()), note=described(kl, tail_mass(logits, k), on)))
        note = f"CAAD's target at alpha {params.caad.alpha:g}, tau {params.caad.tau:g}, of the same tokens"
        found.append(Row(f"teacher_cache_target_k{k}", "nats", target_kl(heard, unheard, k, params), note=note))
        kl, mass = zipf[k]
        on = f"synthetic, vocabulary {VOCABULARY}"
        found.append(Row(f"teacher_cache_zipf_k{k}", "nats", float(kl.mean()), note=described(kl, mass, on)))
        with tempfile.TemporaryDirectory() as folder:
            forced = [one for pair in pairs for one in pair]
            fill(Path(folder), lambda: generator, forced, model_revision(BACKBONE), k)
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
        tokens = sum(len(one.token_ids) for one in forced)
        found.append(Row(f"teacher_cache_bytes_k{k}", "bytes a token", size / tokens, note=f"Parquet on disk; {6 * k + 2} before compression"))
    return found
