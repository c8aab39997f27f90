"""The small build whose contents golden.json holds: from recordings in folders to a model trained for two steps, as plain functions.

    python -m tests.promises.golden            # rewrites golden.json, after a change that is meant to change bytes
    python -m tests.promises.golden FOLDER     # builds in FOLDER, and prints the hashes of every file and of the contents as JSON

Contents are the columns of tables without the keys that hold code and versions, so golden.json stands until bits of audio, answers or weights
change. They hang on the versions of the libraries and on what the processor can do: golden.json says which it was written with.
"""

import contextlib
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.common.tables import read_rows, write_text
from tasks.common.versions import libraries_of, of
from tests import teacher_side
from tests.incremental import small_build

GOLDEN = Path(__file__).with_name("golden.json")
NOISES = 10  # of the clips that small_build writes
SMALLER: dict[str, Any] = {
    "rooms": {"simulated": {"train": 2, "validation": 1, "test": 1}},
    "mix": {"per_noise": {"train": 2, "validation": 1, "test": 1}},
    "references": {"shards": 2},
    "pseudo_gt": {"shards": 2},
    "difficulty": {"items_per_mixture": 1, "denoised": 1, "max_new_tokens": 4},
    "training": {"validation_rows": 2, "max_new_tokens": 4, "common": {"steps": 2, "batch_items": 4}},
}
# Hold times, inode numbers or addresses, and are no output of a stage.
UNHASHED = {"reports/build.json", "reports/latency.json", "reports/.build.lock"}
KEYS = {"key", "heard_key", "samples_key", "recipe_hash", "made_by", "shard"}  # hold the code and the versions


def backwards(work: Callable[[Any], Any], jobs: Sequence[Any], label: str) -> list[Any]:
    """A fan-out whose last job is the first to be done."""
    return [work(job) for job in reversed(jobs)][::-1]


def libraries() -> dict[str, str]:
    """Versions of the libraries that decide the contents."""
    stages = ("catalog", "rooms", "items", "mix", "references", "pseudo_gt", "difficulty", "curriculum", "training")
    return of(*libraries_of(*(f"tasks.{name}" for name in (*stages, "engines", "denoise"))))


def build(folder: Path) -> None:
    """The small build, in `folder`: every stage but those that make the embedded corpora and model, evaluate and report."""
    from tasks.curriculum import stage as curriculum
    from tasks.difficulty import stage as difficulty
    from tasks.pseudo_gt import stage as pseudo_gt
    from tasks.see.basis import basis_path
    from tasks.training import stage as training

    with contextlib.chdir(folder):
        small_build.write_project(utterances=12, shard_mixtures=16)
        for number in range(NOISES, small_build.NOISES):
            small_build.noise_path(number).unlink()
        teacher_side.write_basis(basis_path(None))
        Path("catalogs/curricula/by_snr.yaml").write_text((small_build.ROOT / "catalogs/curricula/by_snr.yaml").read_text())
        Path("profiles/tiny.yaml").write_text(yaml.safe_dump(yaml.safe_load(Path("profiles/tiny.yaml").read_text()) | SMALLER))
        for name, stage in small_build.STAGES.items():
            stage.run() if name == "items" else stage.run(fan_out=backwards)
        pseudo_gt.run(fan_out=backwards)
        difficulty.run(fan_out=backwards)
        curriculum.run()
        training.run("caad")


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of data, models and reports by its path, but of what holds times; of the report's page, without its times."""
    found = {}
    for path in sorted(path for part in ("data", "models", "reports") for path in (folder / part).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in UNHASHED and not name.startswith(("data/scan/", "reports/tensorboard/")):
            data = path.read_bytes()
            if name == "reports/index.html":
                data = re.sub(rb"<!-- build -->.*?<!-- /build -->", b"", data, flags=re.DOTALL)
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of what every table says, by its path or its folder's, and of the bytes of weights."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("data/**/*.parquet")):
        name = path.relative_to(folder).as_posix()
        table = found.setdefault(name.rpartition("/")[0] if name.startswith("data/mixtures/") else name, hashlib.sha256())
        for row in read_rows(path):
            told = {key: value for key, value in row.items() if key not in KEYS}
            table.update(json.dumps(told, sort_keys=True, default=bytes.hex).encode())
    for path in sorted(folder.glob("models/*/*.safetensors")):
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes())
    return {name: one.hexdigest() for name, one in sorted(found.items())}


def processor() -> dict[str, Any]:
    """What decides which kernels run: the instruction sets that torch and numpy found, and the processor's name."""
    import torch
    from numpy._core._multiarray_umath import __cpu_features__ as numpy_features  # type: ignore[attr-defined]

    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE) if Path("/proc/cpuinfo").exists() else []
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "numpy": sorted(name for name, there in numpy_features.items() if there),
        "name": names[0] if names else "unknown",
    }


def other_than(golden: dict[str, Any]) -> str:
    """What is otherwise here than where the hashes were written, in one sentence; empty where they must hold."""
    versions, cpu, here = golden["versions"], golden["processor"], processor()
    said = [f"{name} is {one} here and {versions.get(name)} there" for name, one in libraries().items() if one != versions.get(name)]
    parts = [name for name in ("torch", "numpy") if here[name] != cpu[name]]
    said += [f"{name} runs on other instruction sets here ({here['name']}) than there ({cpu['name']})" for name in parts]
    return "; ".join(said)


def _main() -> None:
    if sys.argv[1:]:
        folder = Path(sys.argv[1])
        build(folder)
        print(json.dumps({"files": files(folder), "contents": contents(folder), "processor": processor()}))
        return
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        told = {"versions": libraries(), "processor": processor(), "contents": contents(Path(name))}
    write_text(GOLDEN, json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    _main()
