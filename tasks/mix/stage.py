"""The mix stage: catalog tables and rooms in, data/mixtures and its manifest out."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.tables import prune, read_parquet
from tasks.mix.chains import read_chains
from tasks.mix.gpu import check_device
from tasks.mix.manifest import write_manifest
from tasks.mix.params import MixParams
from tasks.mix.plan import plan
from tasks.mix.shards import MIXTURES, Shard, removed, shards_of, write_shard

SPEECH = Path("data/catalog/speech.parquet")
NOISE = Path("data/catalog/noise.parquet")
ROOMS = Path("data/rooms")
log = logging.getLogger("dinproof")


def planned(params: MixParams) -> pa.Table:
    """The plan over the catalogued utterances and noise clips and the rooms."""
    speech = read_parquet(SPEECH, ["clip_id", "split", "corpus", "speaker"], [("kind", "=", "utterance")])
    noise = read_parquet(NOISE, ["clip_id", "split", "noise_type"])
    rooms = read_parquet(ROOMS, ["room_id", "split"]) if any(ROOMS.glob("*.parquet")) else pa.table({"room_id": [], "split": []})
    rows = plan(noise, speech, rooms, params, read_chains(params.corruptions))
    heard = len(pc.unique(pc.filter(rows["clip_id"], pc.equal(rows["kind"], "noise"))))
    log.info("mix: %d of %d utterances are heard in noise, all of them clean", heard, len(speech))
    return rows


def run(fan_out: FanOut) -> Counts:
    """Plan every mixture, render those that no earlier shard holds, and list them all in the manifest."""
    params = load("mix", MixParams)
    check_device(params.device)
    rows = planned(params)
    shards = shards_of(rows, params.shard_mixtures, params.device)
    MIXTURES.mkdir(parents=True, exist_ok=True)
    current = {shard.path.name for shard in shards}
    stale: list[Shard] = [shard for shard in shards if not shard.path.exists()]
    gone = removed([path for path in MIXTURES.glob("*.parquet") if path.name not in current], rows)
    rendered = sum(fan_out(write_shard, stale, "mixtures")) if stale else 0
    prune(MIXTURES, current)
    total = write_manifest([shard.path for shard in shards])
    return Counts(
        done={"mixtures": rendered, "shards": len(stale), "removed": gone},
        reused={"mixtures": total - rendered, "shards": len(shards) - len(stale)},
    )
