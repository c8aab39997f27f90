"""The whole path of a mixture, beside audiomentations, lhotse and the DNS Challenge's loop: clips a CPU second, one thread each.

A 10 s clip is read from disk, put in a room with a 1 s response, noise is added at 5 dB, and the mixture goes as FLAC into a Parquet shard. Same 200
clips, 20 noises and 20 responses, the same shard for everybody, the FLAC in it as each library writes it (libsndfile's in all cases, at its
default level); each in a process of its own, a shard in turn, so a disturbance of the
machine meets all of them. A figure is one over the median CPU time of a clip plus its share of writing the shard. The rows `..._flac` read the
clips from FLAC instead of WAV. In the rows `..._malloc` the peers get our setting of malloc (tasks/mix/memory.py) too, which they do not have by
themselves. Ours also sets a level and a peak limit and measures the SNR and level achieved; audiomentations and lhotse do not.
"""

import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from bench.material import CLIPS, NOISES, SNR_DB, Material, make
from bench.table import Row
from tasks.catalog.sound_files import SoundReader
from tasks.common.audio import Wave, decode, encode_flac, to_mono
from tasks.common.tables import AUDIO
from tasks.mix.memory import Kept, keep_freed_memory
from tasks.mix.render import Renderer

SHARD = 100  # mixtures a shard, which an engine renders before the next has its turn: long enough that caches and memory are warm, as in a build
VARIANTS = (("", ".wav", False, "WAV"), ("_flac", ".flac", False, "FLAC"), ("_malloc", ".wav", True, "WAV, all with our malloc setting"))
SCHEMA = pa.schema([("mixture_id", pa.string()), ("audio", AUDIO)])
encode = encode_flac
PEERS = {name: f"bench.peers_{name}" for name in ("audiomentations", "lhotse", "dns")}


def renderer(material: Material) -> Callable[[int], Wave]:
    """Ours: clip index to mixture, as a worker of the mix stage renders it; noises stay decoded in memory."""
    rooms = {path.stem: decode(path)[0] for path in (material.folder / "rooms").iterdir()}
    ours, noises = Renderer(rooms.__getitem__), Kept(256 << 20)

    def render(index: int) -> Wave:
        noise = noises.get(index % NOISES, lambda: decode(material.noise(index))[0])
        offset = index % 20 / 20
        with SoundReader(material.clip(index)) as sound:
            speech = to_mono(sound.read(0, sound.frames))
        return ours.mix(speech, noise, material.room(index).stem, snr_db=SNR_DB, offset=offset, level_dbfs=-25.0, peak=0.99).wave

    return render


def serve(pipe: Connection, module: str, material: Material, keep: bool) -> None:
    """In a process of its own: render the clips asked for, and answer with the CPU seconds of each and of the shard they make."""
    warnings.simplefilter("ignore")
    if keep:
        keep_freed_memory()
    engine = import_module(module)
    render, encode = engine.renderer(material), engine.encode
    while indices := pipe.recv():
        rows: list[dict[str, object]] = []
        ticks = [time.process_time()]
        for index in indices:
            rows.append({"mixture_id": str(index), "audio": {"bytes": encode(render(index)), "path": f"{index}.flac"}})
            ticks.append(time.process_time())
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, material.folder / f"{module}-{indices[0]}.parquet", compression="none", use_dictionary=False)
        pipe.send(([after - before for before, after in pairwise(ticks)], time.process_time() - ticks[-1]))


def clips_per_cpu_second(material: Material, modules: list[str], keep: bool) -> list[float]:
    """For each module, in one interleaved run over all clips; the first round warms up and is not counted."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for module in modules:
        pipe, theirs = context.Pipe()
        workers.append(context.Process(target=serve, args=(theirs, module, material, keep), daemon=True))
        workers[-1].start()
        theirs.close()
        pipes.append(pipe)
    clips: list[list[float]] = [[] for _ in modules]
    shards: list[list[float]] = [[] for _ in modules]
    for first in range(-SHARD, CLIPS, SHARD):
        for which, pipe in enumerate(pipes):
            pipe.send([index % CLIPS for index in range(first, first + SHARD)])
            spent, written = pipe.recv()
            if first >= 0:
                clips[which] += spent
                shards[which].append(written)
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send([])
        worker.join()
    return [1.0 / (median(spent) + median(written) / SHARD) for spent, written in zip(clips, shards, strict=True)]


def rows() -> list[Row]:
    """`mix_<peer>`, and the same with `_flac` and `_malloc`."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary))
        os.sync()  # so that writing the material does not run beside the first measurement
        for ending, suffix, keep, how in VARIANTS:
            ours, *peers = clips_per_cpu_second(Material(Path(temporary), suffix), ["bench.mixing", *PEERS.values()], keep)
            for name, peer in zip(PEERS, peers, strict=True):
                label = "DNS Challenge loop" if name == "dns" else f"{name} {version(name)}"
                note = f"{CLIPS} clips of 10 s from {how}, 1 s response, median CPU time"
                found.append(Row(f"mix_{name}{ending}", "clips per CPU second", ours, label, peer, ours / peer, note))
    return found
