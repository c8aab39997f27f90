"""CAAD's schedule of alpha: what counts as a conflict of text and sound, and that a schedule of one value is the fixed alpha."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.training import caad
from tasks.training.passes import Passes

SURE, AWAY = 12.0, -12.0


def logits(*rows: list[float]) -> Tensor:
    """(1, T, V)."""
    return torch.tensor([rows], dtype=torch.float64)


def conflict_by_hand(heard: list[float], unheard: list[float]) -> float:
    """One token, with plain numbers."""
    choice = unheard.index(max(unheard))

    def lead(values: list[float]) -> float:
        return values[choice] - max(value for place, value in enumerate(values) if place != choice)

    total = sum(math.exp(value) for value in unheard)
    shares = [math.exp(value) / total for value in unheard]
    doubt = -sum(share * math.log2(share) for share in shares if share > 0)
    return min(1.0, max(0.0, 1.0 - doubt)) * min(1.0, max(0.0, 1.0 - lead(heard) / max(lead(unheard), 1e-6)))


numbers = st.lists(st.floats(-9, 9), min_size=4, max_size=4)


@settings(max_examples=80, deadline=None)
@given(numbers, numbers)
def test_conflict_is_the_lost_share_of_a_sure_lead(heard: list[float], unheard: list[float]) -> None:
    found = caad.conflict(logits(heard), logits(unheard)).item()
    assert found == pytest.approx(conflict_by_hand(heard, unheard), abs=1e-4)
    assert 0.0 <= found <= 1.0


def test_a_neutral_a_faithful_and_a_misleading_prompt_differ() -> None:
    says_first, says_second, knows_nothing = [SURE, 0.0, AWAY], [0.0, SURE, AWAY], [0.1, 0.0, 0.0]
    neutral = caad.conflict(logits(says_first), logits(knows_nothing))
    faithful = caad.conflict(logits(says_first), logits([8.0, 0.0, AWAY]))
    misled = caad.conflict(logits(says_second), logits(says_first))
    undecided = caad.conflict(logits([6.0, 0.0, AWAY]), logits(says_first))
    assert neutral.item() == 0.0 and faithful.item() == 0.0
    assert misled.item() == pytest.approx(1.0, abs=1e-3) and undecided.item() == pytest.approx(0.5, abs=1e-3)


def test_two_equally_likely_tokens_are_no_decision() -> None:
    assert caad.conflict(logits([AWAY, SURE, AWAY]), logits([SURE, SURE, AWAY])).item() == 0.0


def test_an_items_alpha_is_its_largest_conflict_and_padding_has_none(params: Any) -> None:
    own = params("caad", alpha=3.0, alpha_schedule="difficulty")
    unheard = logits([SURE, 0.0, AWAY], [SURE, 0.0, AWAY], [SURE, 0.0, AWAY])
    heard = logits([SURE, 0.0, AWAY], [6.0, 0.0, AWAY], [0.0, SURE, AWAY])
    found = caad.alphas(heard, unheard, torch.tensor([[1, 1, 0]]), own)
    assert isinstance(found, Tensor) and found.shape == (1,) and found.item() == pytest.approx(1.5, abs=1e-3)
    garbage = heard.clone()
    garbage[0, 2] = torch.tensor([torch.nan, 1e30, torch.inf])
    assert torch.equal(caad.alphas(garbage, unheard, torch.tensor([[1, 1, 0]]), own), found)


@pytest.mark.parametrize("negative", ["silence", "drop_audio", "keep_transcript"])
def test_a_schedule_that_gives_one_value_is_the_fixed_alpha(
    student: Any, cast: Any, batch: Any, params: Any, monkeypatch: pytest.MonkeyPatch, negative: str
) -> None:
    whole = batch([0, 1, 3], ["clean", negative])

    def loss(**changes: Any) -> float:
        own = params("caad", negative=negative, **changes)
        return float(caad.loss(Passes(student, cast(), whole), own).item())

    fixed, twice = loss(alpha=0.5, alpha_schedule="fixed"), loss(alpha=1.0, alpha_schedule="fixed")
    monkeypatch.setattr(caad, "conflict", lambda heard, unheard: torch.full(heard.shape[:2], 0.5, dtype=heard.dtype))
    assert loss(alpha=1.0, alpha_schedule="difficulty") == pytest.approx(fixed, rel=1e-12)
    assert fixed != pytest.approx(twice, rel=1e-3)


def test_without_conflict_the_schedule_is_distillation(student: Any, cast: Any, batch: Any, params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(student, cast(), batch([0, 1, 7], ["clean", "silence"]))
    monkeypatch.setattr(caad, "conflict", lambda heard, unheard: torch.zeros(heard.shape[:2], dtype=heard.dtype))
    plain = caad.loss(passes, params("caad", alpha=0.0))
    assert torch.equal(caad.loss(passes, params("caad", alpha=4.0, alpha_schedule="difficulty")), plain)
    assert passes.figures["alpha"] == 0.0 and passes.counts["alpha"] == 2.0, "the item without a clean teacher has no contrast"


def test_keep_transcript_contrasts_with_what_the_transcript_says(student: Any, cast: Any, batch: Any, params: Any) -> None:
    whole = batch([0, 1, 3], ["clean", "silence", "keep_transcript"])
    silent, reading = (caad.loss(Passes(student, cast(), whole), params("caad", negative=path, alpha=1.0)) for path in ("silence", "keep_transcript"))
    assert silent.item() != pytest.approx(reading.item(), rel=1e-4)
