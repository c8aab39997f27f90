"""python -m bench.holdout_speakers CORPORA [SPEAKER ...]

How well the backbone of profile `recorded` understands a speaker of digits it has never heard: for each speaker of the
corpus, catalog and backbone are built without that speaker in a folder of their own, and the clean test utterances are
answered. Prints a table and writes reports/holdout_speakers.json. About five minutes a speaker.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tasks.backbone.accuracy import Question, accuracy
from tasks.backbone.stage import BACKBONE
from tasks.catalog.audio import load_clips
from tasks.common.tables import read_rows, write_text
from tasks.items.prompt import prompt_text

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "holdout_speakers.json"
TASKS = ("first", "last", "count", "present")
STAGES = ("tasks.catalog", "tasks.items", "tasks.backbone")


def build(folder: Path, corpora: Path, speaker: str) -> float:
    """Catalog, items and backbone in `folder` with one speaker held out; returns the seconds the backbone took."""
    for name in ("tasks", "catalogs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^profile:.*$", "profile: recorded", text, count=1, flags=re.M)
    text = re.sub(r"^corpora:.*$", lambda _: f"corpora: {corpora}", text, count=1, flags=re.M)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    profile = yaml.safe_load((folder / "profiles" / "recorded.yaml").read_text(encoding="utf-8"))
    profile["catalog"] = {"speech": ["digits"], "noise": [], "rooms": [], "holdout_speakers": {"digits": [speaker]}}
    (folder / "profiles" / "recorded.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    for stage in STAGES:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", stage], cwd=folder, check=True)
    return time.perf_counter() - start


def clean_accuracy() -> dict[str, float]:
    """Accuracy on the clean test utterances of the project in the current folder."""
    items = read_rows(Path("data/items.parquet"), None, [("split", "=", "test"), ("task", "in", TASKS)])
    utterances = read_rows(Path("data/catalog/speech.parquet"), None, [("kind", "=", "utterance"), ("split", "=", "test")])
    waves = load_clips(utterances)
    asked = [
        Question(row["task"], waves[row["clip_id"]], prompt_text(row["question"], row["options"]), row["options"], row["answer"]) for row in items
    ]
    return accuracy(BACKBONE, asked)


def main() -> None:
    """Run and report."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    corpora = Path(sys.argv[1]).resolve()
    speakers = sys.argv[2:] or sorted({path.stem.split("_")[1] for path in (corpora / "speech" / "digits").glob("*.wav")})
    rows = []
    for speaker in speakers:
        with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
            seconds = build(Path(temporary), corpora, speaker)
            log = [json.loads(line) for line in (BACKBONE / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
            right = clean_accuracy()
        rows.append(
            {
                "speaker": speaker,
                "acc_clean": right["all"],
                "by_task": right,
                "validation": log[-1]["validation"]["all"],
                "seconds": round(seconds, 1),
            }
        )
        print(
            f"{speaker:12} held out: {right['all']:.3f}   other speakers' validation takes: {rows[-1]['validation']:.3f}   {seconds:.0f} s",
            flush=True,
        )
    mean = sum(float(row["acc_clean"]) for row in rows) / len(rows)
    print(f"{'mean':12} held out: {mean:.3f}")
    write_text(REPORT, json.dumps({"mean": round(mean, 4), "speakers": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
