"""How well a difficulty score foretells that noise changes an answer, measured on the validation rows.

A score is better the higher it is where answers flip (`flip`: the student's noisy answer differs from its teacher's clean one).
`kl_to_clean` is compared with the plainest score there is, the SNR itself (negated, so that higher is harder).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]


def auroc(score: Float, positive: Flags) -> float | None:
    """Probability that a positive outranks a negative, ties counting half (Mann-Whitney U); None with one class only.

    Args:
        score: (n,) scores.
        positive: (n,) labels.
    """
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        return None
    return float((rankdata(score)[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def pearson(x: Float, y: Float) -> float | None:
    """Correlation of two (n,) series; None where either is constant or there are fewer than two points."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def figures(score: Float, flip: Flags, snr_db: Float, noise_type: NDArray[Any]) -> dict[str, float | None]:
    """The four figures of one score over (n,) rows.

    - `r_snr`: correlation over SNR levels of the mean score with the share of flips, as papers report it; few points, both monotone.
    - `r_item`: correlation over single rows of the score with the flip.
    - `auroc_flip`: AUROC of the score for a flip, over all rows.
    - `auroc_flip_within`: the mean of that AUROC within each noise type and SNR in which both outcomes occur; chance is 0.5.
    """
    levels = np.unique(snr_db)
    per_level = np.array([(score[snr_db == level].mean(), flip[snr_db == level].mean()) for level in levels]).reshape(-1, 2)
    cells = sorted(set(zip(noise_type.tolist(), snr_db.tolist(), strict=True)))
    masks = [(noise_type == noise) & (snr_db == level) for noise, level in cells]
    within = [area for mask in masks if (area := auroc(score[mask], flip[mask])) is not None]
    found = {
        "r_snr": pearson(per_level[:, 0], per_level[:, 1]),
        "r_item": pearson(score, flip.astype(np.float64)),
        "auroc_flip": auroc(score, flip),
        "auroc_flip_within": float(np.mean(within)) if within else None,
    }
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def difficulty_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Figures of `kl_to_clean` and `snr` over rows of the difficulty table that have a clean reference."""
    known = [row for row in rows if row["agrees_with_clean"] is not None and row["kl_to_clean"] is not None and row["snr_db"] is not None]
    flip = np.array([not row["agrees_with_clean"] for row in known], dtype=bool)
    snr_db = np.array([row["snr_db"] for row in known], dtype=np.float64)
    noise_type = np.array([row["noise_type"] for row in known], dtype=object)
    scores = {"kl_to_clean": np.array([row["kl_to_clean"] for row in known], dtype=np.float64), "snr": -snr_db}
    return {name: figures(score, flip, snr_db, noise_type) for name, score in scores.items()}
