"""The curriculum's file: what is refused, and in which words."""

from pathlib import Path

import pytest

from tasks.common.errors import UserError
from tasks.curriculum.params import read_plan

EMBEDDED = Path(__file__).resolve().parents[2] / "catalogs/curricula/by_snr.yaml"


def test_the_embedded_plan_covers_every_snr_once() -> None:
    stages = read_plan(EMBEDDED).stages
    for snr_db in (-30.0, -0.001, 0.0, 9.99, 10.0, 60.0):
        assert sum(stage.limits[0] <= snr_db < stage.limits[1] for stage in stages) == 1


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{name: a, snr_db: [0, 10]}, {name: a, snr_db: [10, 20]}]", "two stages are named 'a'"),
        ("[{name: a, snr_db: [0, 10]}, {name: b, snr_db: [9, null]}]", "stages 'a' and 'b' share an SNR"),
        ("[{name: a, snr_db: [10, 0]}]", "the first number must be below the second"),
        ("[{name: A B, snr_db: [0, 10]}]", "stages.0.name"),
        ("[{name: a, snr: [0, 10]}]", "unknown key 'stages.0.snr'"),
        ("[]", "at least 1 item"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path: Path, stages: str, message: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(f"stages: {stages}\nselection: {{teacher_gate: false}}\n")
    with pytest.raises(UserError, match=message) as caught:
        read_plan(path)
    assert caught.value.where == str(path)
