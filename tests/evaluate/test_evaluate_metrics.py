"""The figures against values worked out by hand, and the intervals against what they must be."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.evaluate import metrics
from tasks.evaluate.metrics import Bootstrap, estimate

OPTIONS = ("oak", "elm")


def row(
    method: str, condition: str, item: int, answer: str | None, *, clip: int | None = None, task: str = "first", snr: float = 0.0
) -> dict[str, Any]:
    noisy = condition == "noisy"
    return {
        "method": method,
        "seed": 0,
        "condition": condition,
        "item_id": f"item{item}",
        "clip_id": f"clip{item if clip is None else clip}",
        "noise_type": "rain" if noisy else None,
        "snr_db": snr if noisy else None,
        "task": task,
        "answer": answer,
        "correct": answer == "oak",
        "position": None if answer is None else OPTIONS.index(answer),
        "target_position": 0,
        "n_options": 2,
    }


def measured(rows: list[dict[str, Any]], methods: tuple[str, ...] = ("base", "caad")) -> dict[str, dict[str, Any]]:
    schema = pa.schema([("position", pa.int64()), ("noise_type", pa.string()), ("snr_db", pa.float64()), ("answer", pa.string())])
    columns = {name: pa.array([entry[name] for entry in rows], schema.field(name).type if name in schema.names else None) for name in rows[0]}
    connection = metrics.connect(pa.table(columns))
    found = metrics.method_metrics(connection, metrics.bootstrap_of(connection, 200), methods)
    return {method: {name: value["value"] for name, value in figures.items()} for method, figures in found.items()}


ROWS = [
    # item 0: base right in quiet and in noise; caad wrong in both
    row("base", "clean", 0, "oak"),
    row("base", "noisy", 0, "oak"),
    row("caad", "clean", 0, "elm"),
    row("caad", "noisy", 0, "elm"),
    # item 1: base wrong in quiet and unparsed in noise; caad right in quiet, wrong in noise
    row("base", "clean", 1, "elm"),
    row("base", "noisy", 1, None),
    row("caad", "clean", 1, "oak"),
    row("caad", "noisy", 1, "elm"),
    # item 2: base unparsed in quiet; caad right in both
    row("base", "clean", 2, None),
    row("base", "noisy", 2, "elm"),
    row("caad", "clean", 2, "oak"),
    row("caad", "noisy", 2, "oak"),
    row("base", "noisy", 3, "oak", task="conflict"),
    row("base", "noisy", 4, "elm", task="background"),
    row("base", "silence", 0, "elm"),
    row("base", "shuffled", 0, "oak"),
]


def test_figures_match_the_definitions() -> None:
    found = measured(ROWS)
    assert found["base"] == {
        "acc_clean": pytest.approx(1 / 3, abs=1e-4),
        "acc_noisy": pytest.approx(1 / 3, abs=1e-4),
        "noisy": 0.5,  # items 0 and 1 have a base answer to agree with; the unparsed answer does not agree
        "gsr": 1.0,  # only item 0 parses on both sides
        "acc_silence": 0.0,
        "acc_shuffled_audio": 1.0,
        "first_option_rate": 0.5,
        "first_option_truth": 1.0,
        "parse_rate": pytest.approx(2 / 3, abs=1e-4),
        "acc_conflict": 1.0,
        "acc_background": 0.0,
    }
    caad = found["caad"]
    assert caad["noisy"] == 0.5  # item 0 differs from base's oak, item 1 repeats base's elm although that is wrong
    assert caad["gsr"] == pytest.approx(2 / 3, abs=1e-4)
    assert caad["gain_acc_noisy"] == 0.0
    assert caad["acc_silence"] is None and caad["acc_conflict"] is None


def test_a_constant_answer_scores_full_gsr_and_shows_in_the_controls() -> None:
    rows = [row("base", condition, item, "elm") for condition in ("clean", "noisy", "silence", "shuffled") for item in range(6)]
    found = measured(rows, ("base",))["base"]
    assert found["gsr"] == 1.0 and found["noisy"] == 1.0
    assert found["acc_noisy"] == found["acc_silence"] == 0.0
    assert found["first_option_rate"] == 0.0


def test_results_have_a_row_for_every_cell_and_clean_has_no_agreement() -> None:
    rows = [row("base", "clean", 0, "oak"), row("base", "noisy", 0, "elm", snr=-5.0), row("base", "noisy", 0, "oak", snr=5.0)]
    table = metrics.results(metrics.connect(pa.Table.from_pylist(rows))).to_pylist()
    assert [(entry["noise_type"], entry["snr_db"], entry["n"], entry["acc"], entry["noisy"], entry["gsr"]) for entry in table] == [
        ("clean", None, 1, 1.0, None, None),
        ("rain", -5.0, 1, 0.0, 0.0, 0.0),
        ("rain", 5.0, 1, 1.0, 1.0, 1.0),
    ]


def test_interval_of_independent_answers_is_the_binomial_one() -> None:
    clips = [f"c{i:03}" for i in range(400)]
    bootstrap = Bootstrap(clips, 4000)
    found = estimate(*bootstrap.shares([(clip, float(i < 120), 1.0) for i, clip in enumerate(clips)]))
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert found["value"] == 0.3
    assert found["ci95"] == pytest.approx([0.3 - half, 0.3 + half], abs=0.006)


def test_more_answers_about_the_same_clips_do_not_narrow_the_interval() -> None:
    clips = [f"c{i}" for i in range(50)]
    bootstrap = Bootstrap(clips, 500)
    once = estimate(*bootstrap.shares([(clip, float(i % 2), 1.0) for i, clip in enumerate(clips)]))
    tenfold = estimate(*bootstrap.shares([(clip, 10.0 * (i % 2), 10.0) for i, clip in enumerate(clips)]))
    assert once == tenfold


def test_gain_is_paired() -> None:
    answers = ["oak" if item % 3 else "elm" for item in range(60)]
    rows = [row(method, "noisy", item, answer) for method in ("base", "caad") for item, answer in enumerate(answers)]
    connection = metrics.connect(pa.Table.from_pylist(rows))
    found = metrics.method_metrics(connection, metrics.bootstrap_of(connection, 200), ("base", "caad"))
    assert found["caad"]["gain_acc_noisy"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    low, high = found["caad"]["acc_noisy"]["ci95"]
    assert high - low > 0.1


def test_order_of_answers_changes_nothing() -> None:
    assert measured(ROWS) == measured(ROWS[::-1])


def test_curves_hold_their_intervals() -> None:
    rows = [row("base", "noisy", item, "oak" if item % 2 else "elm", snr=snr) for item in range(20) for snr in (-5.0, 5.0)]
    connection = metrics.connect(pa.Table.from_pylist(rows))
    curve = metrics.accuracy_over_snr(connection, metrics.bootstrap_of(connection, 200))
    assert [(method, snr, acc) for method, snr, acc, _, _ in curve] == [("base", -5.0, 0.5), ("base", 5.0, 0.5)]
    assert all(low < acc < high for _, _, acc, low, high in curve)
    assert metrics.accuracy_by_noise(connection) == [("base", "rain", 0.5)]
