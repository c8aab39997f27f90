"""The mix stage: catalog tables and rooms in, data/mixtures out."""

import logging
from pathlib import Path

from tasks.common.cli import Counts
from tasks.common.fanout import FanOut
from tasks.common.params import load
from tasks.common.tables import prune, read_rows
from tasks.mix.params import MixParams
from tasks.mix.plan import plan
from tasks.mix.shards import MIXTURES, ROOMS, Shard, shards_of, write_shard

SPEECH = Path("data/catalog/speech.parquet")
NOISE = Path("data/catalog/noise.parquet")
CLIP = ["clip_id", "path", "sha256", "sampling_rate", "split", "metadata"]
log = logging.getLogger("dinproof")


def run(fan_out: FanOut) -> Counts:
    """Plan every mixture and render those that no earlier shard holds."""
    params = load("mix", MixParams)
    speech = read_rows(SPEECH, CLIP, [("kind", "=", "utterance")])
    noise = read_rows(NOISE, [*CLIP, "noise_type"])
    rooms = read_rows(ROOMS, ["room_id", "split"]) if any(ROOMS.glob("*.parquet")) else []
    clips = {row["clip_id"]: row for row in [*speech, *noise]}
    shards = shards_of(plan(noise, speech, rooms, params), clips, params.buckets)
    stale: list[Shard] = [shard for shard in shards if not shard.path.exists()]
    counts = fan_out(write_shard, stale, "mixtures") if stale else []
    MIXTURES.mkdir(parents=True, exist_ok=True)
    prune(MIXTURES, {shard.path.name for shard in shards})

    rendered, kept = sum(made for made, _ in counts), sum(known for _, known in counts)
    untouched = sum(len(shard.rows) for shard in shards) - sum(len(shard.rows) for shard in stale)
    heard = {row["clip_id"] for shard in shards for row in shard.rows if row["noise_ids"]}
    log.info("mix: %d of %d utterances are heard in noise, all of them clean", len(heard), len(speech))
    return Counts(
        done={"mixtures": rendered, "shards": len(stale)},
        reused={"mixtures": untouched + kept, "shards": len(shards) - len(stale)},
    )
