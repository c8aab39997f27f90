"""Time and space of builds too large to try, from measured rates: `python -m bench.scale [--mixtures 1000000 100000000] [--cores 32] [--folder DIR]`.

Measured here, each in fresh processes: planning and cutting into shards at three sizes, DVC's hashing by byte and by file, Prefect's
task runs. Taken from `reports/bench.json` (`make bench`): rendering and scanning. Taken from a built folder: bytes of audio and the
teacher's rate. Rates are CPU seconds, so a busy machine does not spoil them; what one process does takes at least so long, and
a slow disk makes it longer. A size beyond the measured ones is the line through them; nothing here was built at that size.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from tqdm import tqdm

from bench.plan import million
from flows.server import free_url, server

PLANNED = (0.25, 1.0, 2.0)  # million mixtures
FILES = ((8, 2**20), (8, 16 * 2**20), (400, 2**20 // 50))  # (files, bytes each) given to DVC: few small, few large, many small
TASKS = (10, 310)  # the server's own start varies by seconds of CPU
CLIP_S = 10.0
MIXTURES_AN_UTTERANCE, MIXTURES_A_NOISE = 50, 200  # as bench.plan
QUESTIONS_AN_UTTERANCE = 5  # references an utterance in the embedded default: 8,400 of 1,680
GIB, HOUR = 2**30, 3600.0


@dataclass(frozen=True)
class Rates:
    """What one unit costs; a line is (at nothing, a unit)."""

    scan_s: float  # CPU seconds a file catalogued for the first time
    render_s: float  # CPU seconds a mixture of ten seconds
    bytes_s: float  # stored bytes a second of mixture
    plan_s: tuple[float, float]  # CPU seconds, a mixture
    plan_bytes: tuple[float, float]  # peak memory, a mixture
    dvc_byte_s: float  # CPU seconds, hashing and copying into the cache
    dvc_file_s: float
    task_s: float  # CPU seconds of server, flow and worker, a Prefect task run
    task_bytes: float  # of Prefect's database
    reference_s: float  # wall seconds a reference of the folder's own teacher


@dataclass(frozen=True)
class Part:
    """One part of a build: what it is, the seconds it takes on the machine, its CPU seconds, and what else to know."""

    name: str
    wall_s: float
    cpu_s: float
    note: str = ""


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(value at 0, slope) of the least-squares line."""
    slope, start = np.polyfit(x, y, 1)
    return float(start), float(slope)


def at(rate: tuple[float, float], count: float) -> float:
    """The line's value, no less than nothing."""
    return max(0.0, rate[0] + rate[1] * count)


def estimate(rates: Rates, mixtures: int, cores: int, shard_mixtures: int) -> list[Part]:
    """The parts of a first build of so many ten-second mixtures; scanning and rendering are spread over the cores."""
    shards = -(-mixtures // shard_mixtures)
    stored = mixtures * CLIP_S * rates.bytes_s
    references = mixtures / MIXTURES_AN_UTTERANCE * QUESTIONS_AN_UTTERANCE
    answered = references * rates.reference_s
    plan, dvc, tasks = at(rates.plan_s, mixtures), stored * rates.dvc_byte_s + shards * rates.dvc_file_s, shards * rates.task_s
    files = mixtures / MIXTURES_AN_UTTERANCE + mixtures / MIXTURES_A_NOISE
    scan, render = files * rates.scan_s, mixtures * rates.render_s
    return [
        Part("catalog", scan / cores, scan, f"{files:,.0f} files"),
        Part("plan, shards", plan, plan, f"one process, peak {at(rates.plan_bytes, mixtures) / GIB:,.1f} GiB"),
        Part("rendering", render / cores, render, f"{cores} cores"),
        Part("DVC commit", dvc, dvc, f"one process; {stored / 1e9:,.0f} GB, and as much again in the cache unless the file system has reflinks"),
        Part("Prefect", tasks, tasks, f"{shards:,} task runs, {shards * rates.task_bytes / 1e9:,.2f} GB of database"),
        Part("references", answered, answered, f"{references:,.0f} of the embedded teacher; a 7B: see docs/scale.md"),
    ]


def bottleneck(parts: Sequence[Part]) -> str:
    """The part with the longest wall time."""
    return max(parts, key=lambda part: part.wall_s).name


def plan_cost(millions: float) -> tuple[int, float, float]:
    """Mixtures, CPU seconds and peak bytes of planning and of telling which shards are stale; called in a process of its own."""
    from tasks.mix.shards import shards_of

    start = time.process_time()
    rows = million(millions)
    stale = [shard for shard in shards_of(rows, 512, "cpu") if not shard.path.exists()]
    assert stale
    return len(rows), time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def dvc_cost(files: int, size: int) -> float:
    """CPU seconds in which DVC hashes a new folder and takes it into its cache."""
    from dvc.repo import Repo

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number in range(files):
            (folder / f"{number}.bin").write_bytes(rng.bytes(size))
        os.chdir(place)
        repo = Repo.init(no_scm=True)
        start = time.process_time()
        repo.add("data")
        seconds = time.process_time() - start
        repo.close()
        os.chdir("/")
    return seconds


def prefect_cost(tasks: int) -> int:
    """A flow of so many shards that do nothing, by one worker process, on the server of PREFECT_API_URL."""
    from prefect import flow
    from prefect.task_runners import ProcessPoolTaskRunner

    from flows.shards import shard

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def shards() -> None:
        for future in [shard.submit(abs, number, "/") for number in range(tasks)]:
            future.result()

    shards()
    return tasks


def fresh(call: str, **environment: str) -> list[float]:
    """The numbers of a function of this module, called in a process of its own."""
    code = f"import json; from bench import scale; out = scale.{call}; print('=', json.dumps(out if isinstance(out, tuple) else [out]))"
    quiet = {"OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "PREFECT_LOGGING_LEVEL": "ERROR", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **quiet, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    numbers: list[float] = json.loads(done.stdout.rsplit("=", 1)[1])
    return numbers


def prefect_rates() -> tuple[float, float]:
    """CPU seconds of server, flow and worker together, and bytes of the database, a task run; a fresh server a size."""
    seconds, sizes = [], []
    for tasks in TASKS:
        url = free_url()
        with tempfile.TemporaryDirectory() as home:
            os.environ["PREFECT_HOME"] = home
            before = os.times()
            with server(url):
                fresh(f"prefect_cost({tasks})", PREFECT_API_URL=url)
                time.sleep(5)  # events reach the database in batches
                sizes.append(sum(path.stat().st_size for path in Path(home).glob("prefect.db*")))
            after = os.times()
            seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    del os.environ["PREFECT_HOME"]
    return line(TASKS, seconds)[1], line(TASKS, sizes)[1]


def measure(folder: Path) -> Rates:
    """All rates: those of this module measured, the others from reports/bench.json and `folder`."""
    with tqdm(total=len(PLANNED) + len(FILES) + 1, unit="measurement") as bar:

        def step(call: str) -> list[float]:
            found = fresh(call)
            bar.update()
            return found

        plans = [step(f"plan_cost({size})") for size in PLANNED]
        few, large, many = (step(f"dvc_cost({files}, {size})")[0] for files, size in FILES)
        task_s, task_bytes = prefect_rates()
        bar.update()
    counts, seconds, peaks = zip(*plans, strict=True)
    rows = {row["name"]: row["ours"] for row in json.loads(Path("reports/bench.json").read_text(encoding="utf-8"))}
    stored = sum(path.stat().st_size for path in (folder / "data/mixtures").glob("*.parquet"))
    mixed = f"'{folder}/data/mixtures_manifest.parquet' join '{folder}/data/catalog/speech.parquet' using (clip_id)"
    length = duckdb.sql(f"select sum(duration_s) from {mixed}").fetchall()[0][0]
    build = json.loads((folder / "reports/build.json").read_text(encoding="utf-8"))["references"]
    return Rates(
        scan_s=1 / rows["scan_cold_files_s"],
        render_s=1 / rows["mix_dns_flac"],
        bytes_s=stored / length,
        plan_s=line(counts, seconds),
        plan_bytes=line(counts, peaks),
        dvc_byte_s=max(0.0, (large - few) / (FILES[1][0] * FILES[1][1] - FILES[0][0] * FILES[0][1])),
        dvc_file_s=max(0.0, (many - few) / (FILES[2][0] - FILES[0][0])),
        task_s=task_s,
        task_bytes=task_bytes,
        reference_s=build["seconds"] / build["done"]["references"] if build["done"].get("references") else 0.0,
    )


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the rates and a table a size."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixtures", type=int, nargs="+", default=[1_000_000, 100_000_000])
    parser.add_argument("--cores", type=int, default=32)
    parser.add_argument("--shard-mixtures", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=Path(), help="a built folder")
    asked = parser.parse_args(arguments)
    rates = measure(asked.folder)
    for name, value in vars(rates).items():
        print(f"{name}: {value if isinstance(value, float) else ' + n x '.join(f'{part:.4g}' for part in value)}")
    print(f"planning 10,000,000: {at(rates.plan_bytes, 1e7) / GIB:.1f} GiB, {at(rates.plan_s, 1e7):.0f} s by the line")
    for mixtures in asked.mixtures:
        parts = estimate(rates, mixtures, asked.cores, asked.shard_mixtures)
        print(f"\n{mixtures:,} mixtures of {CLIP_S:.0f} s; the bottleneck is {bottleneck(parts)}\n")
        print("| part | hours | CPU hours | |\n|---|---|---|---|")
        for part in parts:
            print(f"| {part.name} | {part.wall_s / HOUR:.2f} | {part.cpu_s / HOUR:.1f} | {part.note} |")


if __name__ == "__main__":
    main(sys.argv[1:])
