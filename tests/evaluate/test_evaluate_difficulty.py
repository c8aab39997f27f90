"""AUROC and correlations against their slow definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluate.difficulty import auroc, difficulty_metrics, pearson


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_ordered_pairs(rows: list[tuple[int, bool]]) -> None:
    score = np.array([float(value) for value, _ in rows])
    positive = np.array([flag for _, flag in rows])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    found = auroc(score, positive)
    assert found is None if not pairs else found == pytest.approx(np.mean(pairs))


def test_constant_series_have_no_correlation() -> None:
    assert pearson(np.ones(5), np.arange(5.0)) is None
    assert pearson(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)


def test_a_score_that_only_knows_the_snr_is_blind_within_a_cell() -> None:
    rows = []
    rng = np.random.default_rng(0)
    for noise in ("rain", "hum"):
        for snr in (-5.0, 0.0, 5.0, 10.0):
            for _ in range(60):
                hardness = rng.normal() - snr / 3
                flip = hardness + 0.3 * rng.normal() > 0
                rows.append({"noise_type": noise, "snr_db": snr, "kl_to_clean": float(np.exp(hardness / 4)), "agrees_with_clean": not flip})
    rows.append({"noise_type": "hum", "snr_db": 0.0, "kl_to_clean": None, "agrees_with_clean": None})
    found = difficulty_metrics(rows)
    assert found["snr"]["auroc_flip_within"] == 0.5
    assert found["snr"]["r_snr"] is not None and found["snr"]["r_snr"] > 0.9
    within, pooled = found["kl_to_clean"]["auroc_flip_within"], found["kl_to_clean"]["auroc_flip"]
    assert within is not None and pooled is not None and pooled > within > 0.8


def test_no_rows_give_nulls_not_numbers() -> None:
    found = difficulty_metrics([])
    assert set(found) == {"kl_to_clean", "snr"}
    assert all(value is None for figures in found.values() for value in figures.values())
