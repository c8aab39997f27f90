"""The scan of a corpus of short files: cold, unchanged, and its peak memory at ten times the files.

    python -m bench.scan

100,000 WAV files of 50 ms in 100 folders, in a temporary project; each scan is a process of its own with one worker. Rates are files a second of
CPU time, of the whole stage: walk, index, rows, splits and tables, start of Python left out. The page cache is warm, so a disk's latency is missing.
"""

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from bench.table import Row, markdown

ROOT = Path(__file__).resolve().parent.parent
FOLDERS, FILES = 100, 1000
SECONDS, RATE = 0.05, 8000
ENTRY = {
    "corpus": "short",
    "kind": "noise",
    "layout": "folder",
    "pattern": r"(?:.*/)?(?P<noise_type>[a-z]+)-(?P<take>\d+)\.wav",
    "split": {"field": "take", "test": 0.1, "validation": 0.1},
    "duration_s": [0.01, 1.0],
    "licence": "CC0-1.0",
    "source": "https://example.org",
    "citation": "none",
}


def write_tree(folder: Path) -> None:
    """The first tenth of the folders below `few`, so that it is a corpus of its own."""
    frames = int(SECONDS * RATE)
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 2 * frames, b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", 2 * frames)
    for number in range(FOLDERS):
        below = folder / ("few" if number < FOLDERS // 10 else "more") / f"{number:03d}"
        below.mkdir(parents=True)
        sound = np.random.default_rng(number).integers(-9000, 9000, (FILES, frames), dtype=np.int16)
        for take in range(FILES):
            (below / f"din-{number * FILES + take}.wav").write_bytes(header + sound[take].tobytes())


def write_project(folder: Path, corpora: Path, root: str) -> None:
    """A project whose only corpus is the tree, or its first tenth."""
    (folder / "catalogs/noise").mkdir(parents=True)
    (folder / "profiles").mkdir()
    (folder / "profiles/tiny.yaml").write_text("{}\n")
    (folder / "catalogs/noise/short.yaml").write_text(yaml.safe_dump({**ENTRY, "root": root}))
    section = {"speech": [], "noise": ["short"], "rooms": []}
    (folder / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": str(corpora), "catalog": section}))


def measure(project: Path) -> dict[str, float]:
    """CPU seconds and peak memory (MiB) of one run of the stage, in a process of its own, and how many files it decoded."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "bench.scan", "--child"], cwd=project, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child() -> None:
    """What `measure` runs."""
    from tasks.catalog.stage import run
    from tasks.common.fanout import in_process

    start = time.process_time()
    counts = run(fan_out=in_process)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "decoded": counts.done["files"]}))


def rows() -> list[Row]:
    """Files a second and the growth of memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder / "corpora/short")
        for project, root in (("small", "short/few"), ("large", "short")):
            write_project(folder / project, folder / "corpora", root)
        small, cold, unchanged = measure(folder / "small"), measure(folder / "large"), measure(folder / "large")
    files = FOLDERS * FILES
    assert (small["decoded"], cold["decoded"], unchanged["decoded"]) == (files // 10, files, 0)
    on = f"{files} WAV files of {1000 * SECONDS:g} ms, CPU time of one worker"
    memory = (
        f"peak {cold['peak']:.0f} MiB scanning {files} files, {small['peak']:.0f} MiB scanning {files // 10}; unchanged {unchanged['peak']:.0f} MiB"
    )
    return [
        Row("scan_unchanged_files_s", "files/s", files / unchanged["seconds"], note=on),
        Row("scan_cold_files_s", "files/s", files / cold["seconds"], note=on),
        Row("scan_memory_100k_over_10k", "ratio", cold["peak"] / small["peak"], note=memory),
    ]


if __name__ == "__main__":
    child() if "--child" in sys.argv else print(markdown(rows()))
