"""The join: every question asked of a noisy mixture with all that is known about it, in one SQL query over the Parquet files."""

from pathlib import Path

import duckdb
import pyarrow as pa

from tasks.common.errors import UserError
from tasks.common.tables import checked, read_rows
from tasks.curriculum.params import Plan
from tasks.items.prompt import prompt_text

ITEMS = Path("data/items.parquet")

_READ = ("difficulty.parquet", "mixtures_manifest.parquet", "references/*.parquet", "pseudo_gt/*.parquet")
# `reason` says why a question is not in the dataset. Background items have no reference, so no gate applies to them.
_ROWS = """
SELECT d.mixture_id, d.item_id, m.clip_id, s.stage, d.split, i.task, d.noise_type, d.snr_db, i.prompt, i.options, i.answer, i.transcript,
       r.text AS reference_text, r.token_ids AS reference_token_ids, r.token_logprobs AS reference_token_logprobs,
       r.correct AS reference_correct, p.text AS pseudo_gt_text, p.token_ids AS pseudo_gt_token_ids,
       d.see, d.kl_to_clean, d.feature_distance, d.student_correct, d.agrees_with_clean, m.licences, m.corpora, m.sampling_rate,
       'data/mixtures/' || m.shard AS shard,
       CASE
           WHEN d.refused IS NOT NULL THEN d.refused
           WHEN d.split = 'train' AND s.stage IS NULL THEN 'no_stage'
           WHEN $teacher_gate AND d.split = 'train' AND r.correct = false THEN 'teacher_wrong'
       END AS reason
FROM 'data/difficulty.parquet' d
JOIN 'data/mixtures_manifest.parquet' m USING (mixture_id)
JOIN items i USING (item_id)
LEFT JOIN 'data/references/*.parquet' r USING (item_id)
LEFT JOIN 'data/pseudo_gt/*.parquet' p USING (item_id)
LEFT JOIN stages s ON d.snr_db >= s.low AND d.snr_db < s.high
ORDER BY m.shard, d.mixture_id, d.item_id
"""


def joined(plan: Plan) -> pa.Table:
    """A row for every question asked, without audio, sorted by the mixture shard that holds it (column `shard`), then by ids.

    Raises UserError where the output of an earlier stage is missing.
    """
    checked(sorted(file for pattern in _READ for file in Path("data").glob(pattern)))
    connection = duckdb.connect()
    items = [
        {**item, "prompt": prompt_text(item["question"], item["options"])}
        for item in read_rows(ITEMS, ["item_id", "task", "question", "options", "answer", "transcript"])
    ]
    connection.register("items", pa.Table.from_pylist(items))
    limits = [stage.limits for stage in plan.stages]
    numbers = list(range(1, len(limits) + 1))
    connection.register("stages", pa.table({"stage": numbers, "low": [low for low, _ in limits], "high": [high for _, high in limits]}))
    try:
        return connection.sql(_ROWS, params={"teacher_gate": plan.selection.teacher_gate}).to_arrow_table()
    except duckdb.IOException as error:
        raise UserError("data", str(error).splitlines()[0], "Build the earlier stages first: dvc repro curriculum") from None
