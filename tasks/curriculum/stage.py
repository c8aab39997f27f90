"""The curriculum stage: join, assign stages by SNR, select, and write the dataset with its card."""

import logging
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.cli import Counts
from tasks.common.params import load
from tasks.common.tables import prune, read_rows, write_parquet, write_text
from tasks.curriculum.card import card, stage_file
from tasks.curriculum.dataset import write_dataset
from tasks.curriculum.join import joined
from tasks.curriculum.params import CurriculumParams, read_plan

CURRICULUM = Path("data/curriculum")
CORPORA = Path("data/catalog/corpora.parquet")
EXCLUDED = ["mixture_id", "item_id", "split", "reason"]
_CARD = ["split", "stage", "task", "noise_type", "snr_db", "licences", "corpora", "reason", "reference_correct", "student_correct"]
log = logging.getLogger("dinproof")


def files_of(kept: pa.Table, names: list[str]) -> dict[str, pa.Table]:
    """The rows of each file of the dataset, by its name; `names` are those of the stages in order."""
    files = {}
    for number, name in enumerate(names, 1):
        files[stage_file(number, name)] = kept.filter(pc.and_(pc.equal(kept["split"], "train"), pc.equal(kept["stage"], number)))
    for split in ("validation", "test"):
        files[f"heldout/{split}.parquet"] = kept.filter(pc.equal(kept["split"], split))
    return files


def run() -> Counts:
    """Write data/curriculum: train/<stage>.parquet, heldout/<split>.parquet, excluded.parquet, README.md."""
    params = load("curriculum", CurriculumParams)
    plan = read_plan(params.plan)
    rows = joined(plan)
    kept, excluded = rows.filter(pc.is_null(rows["reason"])), rows.filter(pc.is_valid(rows["reason"]))
    files = files_of(kept, [stage.name for stage in plan.stages])
    for name, part in files.items():
        write_dataset(CURRICULUM / name, part)
        if not part.num_rows:
            log.warning("curriculum: %s is empty", name)
    write_parquet(CURRICULUM / "excluded.parquet", excluded.select(EXCLUDED), row_group=65536)
    text = card(plan, kept.select(_CARD).to_pylist(), excluded.select(_CARD).to_pylist(), read_rows(CORPORA))
    write_text(CURRICULUM / "README.md", text)
    for folder in ("train", "heldout"):
        prune(CURRICULUM / folder, {Path(name).name for name in files})

    for reason, count in sorted(Counter(excluded["reason"].to_pylist()).items()):
        log.info("curriculum: %d questions left out: %s", count, reason)
    return Counts(done={"questions": kept.num_rows, "excluded": excluded.num_rows})
