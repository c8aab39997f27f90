"""vLLM samples with the weights of the moment: its rollouts are those of transformers before and after an update."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from family_material import write_thinker
from training_material import training_of

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.training import objectives
from tasks.training.adapters import load_models
from tasks.training.data import Curriculum, collate
from tasks.training.params import RunParams, run_params
from tasks.training.passes import Cast, Passes
from tasks.training.rollouts import Rollouts
from tasks.training.vllm_rollouts import VllmRollouts

Row = dict[str, Any]
VIEWS = ("student", "text")
COLD = 1.0e-3  # so cold that a sample is the greedy answer


def own_params(**rollouts: Any) -> RunParams:
    return run_params(training_of(xopd={"rollouts": {"engine": "vllm", "group_size": 2, **rollouts}}), "xopd")


@pytest.fixture
def dataset(rows: list[Row], waves: dict[str, Wave], processor: Any) -> Curriculum:
    return Curriculum(rows, waves, processor, ("text",), [0, 3, 5, 1], [False, True, False, False], 100)


@pytest.fixture(scope="module")
def started(backbone: Path) -> Iterator[Callable[[Curriculum, RunParams], VllmRollouts]]:
    """One engine for all tests, asked in other ways."""
    engines: list[VllmRollouts] = []

    def of(dataset: Curriculum, own: RunParams) -> VllmRollouts:
        if not engines:
            engines.append(VllmRollouts(backbone, dataset, VIEWS, own))
        engines[0].dataset, engines[0].own = dataset, own
        return engines[0]

    yield of
    for one in engines:
        one.engine.close()


def step_of(dataset: Curriculum) -> list[dict[str, Any]]:
    """Two micro-batches."""
    pad = dataset.processor.tokenizer.pad_token_id
    return [{**collate([dataset[place] for place in places], pad), "totals": {}, "copies": 2} for places in ((0, 1, 2), (3,))]


def student_of(backbone: Path, lora: Any = None) -> Any:
    torch.set_num_threads(1)
    own = run_params(training_of(common={"lora": lora}), "caad")
    return load_models(own, backbone, backbone, torch.device("cpu")).student


def moved(student: Any) -> Any:
    """The student after an update that changes what it hears and says."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad and weight.ndim >= 2:
                weight.add_(0.3 * (weight.std() or 1.0) * torch.randn(weight.shape, generator=generator))
    return student


def filled(generate: VllmRollouts, student: Any, dataset: Curriculum) -> list[dict[str, Any]]:
    batches = step_of(dataset)
    generate(student, batches)
    return batches


def spoken(rollouts: Rollouts) -> list[tuple[int, ...]]:
    return [tuple(ids[kept.bool()].tolist()) for ids, kept in zip(rollouts.ids, rollouts.mask, strict=True)]


def check(rollouts: Rollouts, view: str, passes: Passes) -> None:
    """The log-probabilities are those of the student's own passes at the sampling temperature."""
    with torch.no_grad():
        logits = passes.student_on(rollouts, view) / passes.cast.rollouts.temperature
    own = objectives.token_logprobs(logits, rollouts.ids) * rollouts.mask
    torch.testing.assert_close(rollouts.logprobs, own, rtol=0, atol=1e-4)


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8.0, "targets": "linear"}])
def test_cold_rollouts_are_those_of_transformers_before_and_after_an_update(
    lora: Any, backbone: Path, dataset: Curriculum, started: Callable[..., VllmRollouts], cast: Callable[..., Cast], processor: Any
) -> None:
    own = own_params(temperature=COLD)
    student, said = student_of(backbone, lora), []
    who = cast(teacher=student, processor=processor, rollouts=own.rollouts)
    for update in (False, True):
        if update:
            moved(student)
        for batch in filled(started(dataset, own), student, dataset):
            for view in VIEWS:
                got = batch[f"rollouts_{view}"]
                assert Passes(student, who, batch).rollouts(view) is got
                plain = {key: value for key, value in batch.items() if not key.startswith("rollouts")}
                want = Passes(student, who, plain).rollouts(view)
                assert spoken(got) == spoken(want)
                said += spoken(got)
    assert len(set(said)) > 2, "equal answers would compare nothing"
    assert said[: len(said) // 2] != said[len(said) // 2 :], "the update changed nothing"


def test_warm_rollouts_have_the_students_logprobs_and_come_from_the_seed(
    backbone: Path,
    dataset: Curriculum,
    started: Callable[..., VllmRollouts],
    cast: Callable[..., Cast],
    processor: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student = moved(student_of(backbone))
    generate = started(dataset, own_params())
    monkeypatch.setattr(generate.engine.prompts, "end_ids", list(range(150)))  # a random model hardly ever ends by itself
    found: list[list[Rollouts]] = []
    for seed in (0, 0, 1):
        own = own_params(temperature=1.5, group_size=4).model_copy(update={"seed": seed})
        who = cast(teacher=student, processor=processor, rollouts=own.rollouts)
        batches = filled(started(dataset, own), student, dataset)
        found.append([batch[f"rollouts_{view}"] for batch in batches for view in VIEWS])
        for batch in batches:
            for view in VIEWS:
                check(batch[f"rollouts_{view}"], view, Passes(student, who, batch))
    first, again, other = ([rollouts.ids.tolist() for rollouts in group] for group in found)
    assert first == again and first != other
    ends, lengths = set(range(150)), set()
    for rollouts in found[0]:
        assert rollouts.grouped(rollouts.ids).shape[1] == 4
        for ids, length in zip(rollouts.ids.tolist(), rollouts.mask.sum(-1).tolist(), strict=True):
            assert not set(ids[: length - 1]) & ends and (ids[length - 1] in ends or length == 6)
            lengths.add(length)
    assert len(lengths) > 1


def test_sharded_weights_are_refused(backbone: Path, dataset: Curriculum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="FSDP"):
        VllmRollouts(backbone, dataset, VIEWS, own_params())


def test_another_family_is_refused(backbone: Path, tmp_path: Path, dataset: Curriculum) -> None:
    write_thinker(tmp_path / "thinker", backbone)
    with pytest.raises(UserError, match="handed over for qwen2_audio alone"):
        VllmRollouts(tmp_path / "thinker", dataset, VIEWS, own_params())
