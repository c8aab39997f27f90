"""What a run does with what should not be there: each has one outcome, and none passes unseen."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from training_material import training_section

from tasks.common.errors import UserError
from tasks.training import grpo, passes, sft, stage
from tasks.training.passes import Passes
from tasks.training.rollouts import Rollouts
from tasks.training.watch import Tally, merged


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_publishes_nothing(bad: float, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = sft.loss, []

    def broken(passes: Passes, params: Any) -> torch.Tensor:
        steps.append(1)
        return real(passes, params) * (bad if len(steps) == 2 else 1.0)

    monkeypatch.setattr(sft, "loss", broken)
    with pytest.raises(UserError, match=r"training sft, step 2: the loss is (nan|inf)\. Lower training\.sft\.learning_rate"):
        stage.run("sft")
    assert len(steps) == 2 and not (project / "models/sft").exists()


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_weight(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finite loss can have one, and it would be in the weights that are published."""
    real = sft.loss

    def steep(passes: Passes, params: Any) -> torch.Tensor:
        zero = passes.student.model.multi_modal_projector.linear.bias.sum() * 0
        return real(passes, params) + zero.sqrt()

    monkeypatch.setattr(sft, "loss", steep)
    with pytest.raises(UserError, match=r"step 1: the gradient of model\.multi_modal_projector\.linear\.bias is not finite.*learning_rate"):
        stage.run("sft")


def rolled(batch: dict[str, Any], ids: list[list[int]], size: int) -> dict[str, Any]:
    """The batch with these rollouts, as another engine would give them."""
    width = max(map(len, ids)) or 1
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    return {**batch, "rollouts_student": Rollouts(tokens, mask, torch.zeros(tokens.shape, dtype=torch.float64), size)}


@pytest.fixture
def judged(batch: Any, cast: Any, student: Any, params: Any, processor: Any) -> Callable[[list[str | list[int]]], tuple[Passes, torch.Tensor]]:
    """The passes and GRPO's loss for one item with these four rollouts, texts or tokens."""

    def of(said: list[str | list[int]]) -> tuple[Passes, torch.Tensor]:
        ids = [processor.tokenizer(one)["input_ids"] if isinstance(one, str) else one for one in said]
        seen = Passes(student, cast(), rolled(batch([0]), ids, len(said)))
        return seen, grpo.loss(seen, params("grpo"))

    return of


def gradient(student: Any, loss: torch.Tensor) -> float:
    loss.backward()
    return max(weight.grad.abs().max().item() for weight in student.parameters() if weight.grad is not None)


def test_a_group_of_equal_rewards_teaches_nothing_and_is_counted(judged: Any, student: Any, rows: list[dict[str, Any]]) -> None:
    right = f"<answer> {rows[0]['answer']} </answer>"
    seen, loss = judged([right, right, f"<think> x </think>{right}", right])
    assert seen.rewards.tolist() == [[1.0, 1.0, 1.0, 1.0]] and seen.figures["signal"] == 0.0
    assert gradient(student, loss) == 0.0


def test_rewards_that_differ_do_teach(judged: Any, student: Any, rows: list[dict[str, Any]]) -> None:
    """What the test above is against."""
    wrong = next(option for option in rows[0]["options"] if option != rows[0]["answer"])
    seen, loss = judged([f"<answer> {rows[0]['answer']} </answer>", *[f"<answer> {wrong} </answer>"] * 3])
    assert seen.rewards.tolist() == [[1.0, -1.0, -1.0, -1.0]] and seen.figures["signal"] == 1.0
    assert gradient(student, loss) > 0.0


def test_completions_that_say_nothing_earn_nothing(judged: Any, student: Any, processor: Any, rows: list[dict[str, Any]]) -> None:
    """None at all, only special tokens, and an answer that no option matches: reward 0, counted, and finite in the gradient."""
    end = processor.tokenizer.eos_token_id
    seen, loss = judged([[], [end], [processor.audio_token_id, end], "<answer> zeppelin </answer>"])
    assert seen.rewards.tolist() == [[0.0, 0.0, 0.0, 0.0]]
    assert seen.figures["unmatched"] == 1.0 and seen.figures["reward"] == 0.0 and seen.figures["length"] > 0
    assert gradient(student, loss) == 0.0
    seen, loss = judged([[], [end], "<answer> zeppelin </answer>", f"<answer> {rows[0]['answer']} </answer>"])
    assert seen.rewards.tolist() == [[0.0, 0.0, 0.0, 1.0]] and seen.figures["unmatched"] == 0.75
    assert math.isfinite(gradient(student, loss))


def test_figures_that_are_no_numbers_leave_their_means_alone() -> None:
    tally = Tally()
    for value, weight in ((1.0, 2.0), (math.nan, 5.0), (math.inf, 1.0), (4.0, 1.0), (9.0, 0.0)):
        tally.add("kl", value, weight)
    tally.add("ce", math.nan, 1.0)
    assert tally.means() == {"kl": 2.0}
    assert merged([tally.sums, {"kl": (6.0, 1.0), "ce": (1.0, 1.0)}]).means() == {"kl": 3.0, "ce": 1.0}


@pytest.mark.parametrize("argument", [(), ("ppo",)])
def test_an_unknown_method_names_the_known_ones(argument: tuple[str, ...], project: Path) -> None:
    with pytest.raises(UserError, match=r"a method is needed.*sft, kd, grpo, echodistill, caad, xopd, gkd, combination"):
        stage.run(*argument)


def test_missing_inputs_say_which_stage_makes_them(project: Path) -> None:
    (project / "models/backbone").unlink()
    with pytest.raises(UserError, match=r"models/backbone: no model here\. Run the backbone stage"):
        stage.run("sft")


def test_a_curriculum_without_what_the_method_needs_is_refused(project: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    from tasks.common.tables import write_parquet

    table = pa.Table.from_pylist(rows)
    bare = [{**row, "pseudo_gt_token_ids": None} for row in rows]
    write_parquet(project / "data/curriculum/train/1.parquet", pa.Table.from_pylist(bare, schema=table.schema))
    with pytest.raises(UserError, match="no row has pseudo_gt"):
        stage.run("sft")


def test_a_nan_in_the_log_is_never_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has no NaN: a figure without a number is left out of its line."""
    real = passes.Passes.watch
    monkeypatch.setattr(passes.Passes, "watch", lambda self, name, values, over="items": real(self, name, values * math.nan, over))
    stage.run("sft")
    section = yaml.safe_load((project / "params.yaml").read_text())["training"]
    assert section["log_every"] == training_section()["log_every"]
    lines = (project / "models/sft/train_log.jsonl").read_text().splitlines()
    assert all("loss" in json.loads(line) for line in lines[:3])
    assert not any("NaN" in line or '"ce"' in line for line in lines)
