"""Each method's loss on a batch against the same loss written out item by item from unbatched passes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from training_material import batch_of, full_logits

from tasks.common.audio import Wave, decode, encode_flac
from tasks.engines import qwen2_audio as family
from tasks.items.answers import task_reward
from tasks.training import echodistill
from tasks.training.caad import Caad
from tasks.training.echodistill import EchoDistill

Row = dict[str, Any]


@pytest.fixture
def teacher(pair: tuple[Any, Any]) -> Any:
    """A copy that differs from the student, so that a mix-up of the two shows."""
    import copy

    other = copy.deepcopy(pair[0])
    with torch.no_grad():
        for number, weight in enumerate(other.model.language_model.parameters()):
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number), dtype=weight.dtype))
    return other


def distributions(model: Any, processor: Any, row: Row, wave: Wave | None, ids: list[int]) -> list[list[float]]:
    with torch.no_grad():
        return full_logits(model, processor, row, wave, ids).softmax(-1).tolist()


def features_of(model: Any, processor: Any, wave: Wave) -> torch.Tensor:
    """The projected audio of one clip, (audio tokens, width), from the tower called directly."""
    view = family.inputs(processor, [family.chat_text(processor, "x", True)], [wave], 1)
    tokens = int((view["input_ids"] == processor.audio_token_id).sum())
    frames = (int(view["feature_attention_mask"].sum()) - 1) // 2 + 1
    width = view["input_features"].shape[-1] // 2
    mask = torch.zeros(1, 1, width, width, dtype=torch.float64).masked_fill(torch.arange(width) >= frames, -torch.inf)
    with torch.no_grad():
        hidden = model.model.audio_tower(view["input_features"], attention_mask=mask).last_hidden_state
        return model.model.multi_modal_projector(hidden)[0, :tokens]


def mean_logprob(probabilities: list[list[float]], ids: list[int]) -> float:
    return sum(math.log(p[i]) for p, i in zip(probabilities, ids, strict=True)) / len(ids)


def mean_kl(teacher: list[list[float]], student: list[list[float]]) -> float:
    return sum(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) for p, q in zip(teacher, student, strict=True)) / len(teacher)


@pytest.mark.parametrize("shaping", ["off", "instance", "candidate"])
def test_echodistill_is_its_equations(
    shaping: str,
    pair: tuple[Any, Any],
    teacher: Any,
    rows: list[Row],
    waves: dict[str, Wave],
    echo_params: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, processor = pair
    params = echo_params(shaping=shaping, lambda_policy=0.7, lambda_distill=1.3, lambda_features=0.4)
    numbers, pad, end = [0, 2, 5], processor.tokenizer.pad_token_id, processor.tokenizer.eos_token_id
    batch = batch_of(rows, waves, processor, numbers, EchoDistill.views)
    rollouts = []
    for number in numbers:
        row = rows[number]
        texts = [f"<answer> {row['answer']} </answer>", "<answer> nothing </answer>", f" {row['options'][-1]}", ""]
        rollouts += [[*processor.tokenizer(text)["input_ids"], end] for text in texts]
    width = max(map(len, rollouts))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rollouts])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rollouts])
    monkeypatch.setattr(echodistill, "sample", lambda *_: (ids, mask))
    loss, figures = EchoDistill(teacher, processor, params)(model, batch, 0)

    policy, distill, trusted = 0.0, 0.0, 0
    errors, clean_features = 0.0, []
    for place, number in enumerate(numbers):
        row = rows[number]
        noisy, clean, reference = decode(row["audio"]["bytes"])[0], waves[row["clip_id"]], row["reference_token_ids"]
        kl = mean_kl(distributions(teacher, processor, row, clean, reference), distributions(model, processor, row, noisy, reference))
        student_features, teacher_features = (features_of(one, processor, wave) for one, wave in ((model, noisy), (teacher, clean)))
        shared = min(len(student_features), len(teacher_features))
        errors += (student_features[:shared] - teacher_features[:shared]).square().sum().item()
        clean_features.append(teacher_features[:shared])
        distill, trusted = distill + kl * row["reference_correct"], trusted + row["reference_correct"]
        group, student, scorer = rollouts[4 * place : 4 * place + 4], [], []
        rewards = [task_reward(processor.tokenizer.decode(ids, skip_special_tokens=True), row["options"], row["answer"]) for ids in group]
        for ids_ in group:
            student.append(mean_logprob(distributions(model, processor, row, noisy, ids_), ids_))
            scorer.append(mean_logprob(distributions(teacher, processor, row, clean, ids_), ids_))
        bonus = {"off": [0.0] * 4, "instance": [math.exp(-kl)] * 4, "candidate": [math.exp(value) for value in scorer]}[shaping]
        shaped = [max(-1.0, min(2.0, r + params.beta * (r > 0) * s)) for r, s in zip(rewards, bonus, strict=True)]
        mean = sum(shaped) / 4
        spread = max(math.sqrt(sum((value - mean) ** 2 for value in shaped) / 4), 1e-6)
        for value, new, old in zip(shaped, student, scorer, strict=True):
            rho, advantage = math.exp(new - old), (value - mean) / spread
            policy -= min(rho * advantage, max(1 - params.clip, min(1 + params.clip, rho)) * advantage) / 12
    assert 0 < trusted < 3
    assert figures["signal"] == 1.0
    every = torch.cat(clean_features)
    features = errors / (every - every.mean(0)).square().sum().item()
    assert features > 0.01
    assert loss.item() == pytest.approx(0.7 * policy + 1.3 * distill / trusted + 0.4 * features, rel=1e-6)


def test_without_a_policy_weight_nothing_is_sampled(
    pair: tuple[Any, Any], teacher: Any, rows: list[Row], waves: dict[str, Wave], echo_params: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echodistill, "sample", lambda *_: pytest.fail("sampled"))
    batch = batch_of(rows, waves, pair[1], [0, 1], EchoDistill.views)
    loss, figures = EchoDistill(teacher, pair[1], echo_params(lambda_policy=0.0, lambda_features=0.0))(pair[0], batch, 0)
    assert loss.item() == pytest.approx(figures["kl"])


@pytest.mark.parametrize("negative", ["silence", "drop_audio"])
def test_caad_is_its_equations(
    negative: str, pair: tuple[Any, Any], teacher: Any, rows: list[Row], waves: dict[str, Wave], caad_params: Callable[..., Any]
) -> None:
    model, processor = pair
    params = caad_params(negative=negative, alpha=1.5)
    numbers = [3, 7]
    objective = Caad(teacher, processor, params)
    loss, _ = objective(model, batch_of(rows, waves, processor, numbers, objective.views), 0)

    items = []
    for number in numbers:
        row = rows[number]
        noisy, ids = decode(row["audio"]["bytes"])[0], row["pseudo_gt_token_ids"]
        with torch.no_grad():
            student = full_logits(model, processor, row, noisy, ids)
            truth = -mean_logprob(student.softmax(-1).tolist(), ids)
            if number == 7:
                items.append(truth)
                continue
            # Silence is as long as what the student hears.
            unheard = full_logits(teacher, processor, row, 0 * noisy if negative == "silence" else None, ids)
            heard = full_logits(teacher, processor, row, waves[row["clip_id"]], ids)
            contrast = heard + params.alpha * (heard - unheard)
            kl = mean_kl((contrast / params.tau).softmax(-1).tolist(), (student / params.tau).softmax(-1).tolist())
        items.append(params.weight * params.tau**2 * kl + (1 - params.weight) * truth)
    assert loss.item() == pytest.approx(sum(items) / 2, rel=1e-6)


def test_caad_without_contrast_is_distillation(
    pair: tuple[Any, Any], teacher: Any, rows: list[Row], waves: dict[str, Wave], caad_params: Callable[..., Any]
) -> None:
    model, processor = pair
    plain = Caad(teacher, processor, caad_params(alpha=0.0, weight=1.0, tau=1.0))
    assert plain.views == ("clean",)
    loss, _ = plain(model, batch_of(rows, waves, processor, [3], plain.views), 0)
    row = rows[3]
    noisy, clean, ids = decode(row["audio"]["bytes"])[0], waves[row["clip_id"]], row["pseudo_gt_token_ids"]
    kl = mean_kl(distributions(teacher, processor, row, clean, ids), distributions(model, processor, row, noisy, ids))
    assert loss.item() == pytest.approx(kl, rel=1e-6)


@pytest.mark.parametrize("negative", ["silence", "drop_audio"])
def test_a_cached_teacher_teaches_what_the_live_one_does(
    negative: str,
    backbone: Path,
    pair: tuple[Any, Any],
    teacher: Any,
    rows: list[Row],
    waves: dict[str, Wave],
    caad_params: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _, processor = pair
    same = [row | {"audio": {"bytes": encode_flac(waves[row["clip_id"]]), "path": None}} for row in rows]  # so that silence is as long
    original, _ = family.load(backbone, torch.device("cpu"), torch.float32)

    def loss_of(tokens: int | None) -> float:
        params = caad_params(negative=negative, cached_tokens=tokens)
        objective = Caad(original.double(), processor, params)
        objective.remember(same, waves, backbone)
        return objective(teacher, batch_of(same, waves, processor, [3, 0, 7], objective.views), 0)[0].item()

    live = loss_of(None)
    assert Caad(teacher, processor, caad_params(cached_tokens=20)).views == (), "no view is made that nobody reads"
    errors = [abs(loss_of(tokens) - live) for tokens in (1, 50, 1000)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-3 * live
    assert len(list((tmp_path / "data/.parts/teacher").glob("*.parquet"))) == 3
    before = {path.name for path in (tmp_path / "data/.parts/teacher").iterdir()}
    assert abs(loss_of(50) - live) == errors[1] and {path.name for path in (tmp_path / "data/.parts/teacher").iterdir()} == before


def test_a_bare_off_in_yaml_is_the_word(echo_params: Callable[..., Any]) -> None:
    assert echo_params(**yaml.safe_load("shaping: off")).shaping == "off"
    with pytest.raises(ValueError, match="shaping"):
        echo_params(shaping=True)
