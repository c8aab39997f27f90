"""The policy losses against TRL's own: its GRPOTrainer on a tiny text model, its rollouts, and ours from the model's plain logits.

TRL's fused head scores tokens in float32. One test compares its log-probabilities with ours at that precision; for the others it is
given them in float64 from the same logits, so that everything behind them, which is what is compared, agrees to 1e-6.

TRL knows the four as `loss_type` grpo, dapo and dr_grpo, and GSPO as grpo with `importance_sampling_level="sequence"`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from tasks.training.objectives import group_advantages, token_logprobs
from tasks.training.policy_losses import PolicyKind, policy_terms

ITEMS, SIZE, LONGEST = 3, 4, 8
MAX_TOKENS = 11  # of Dr. GRPO; not the width that the rollouts happen to have
CLIP, CLIP_HIGH = 0.2, 0.28
Inputs = dict[str, Any]
Make = Callable[..., GRPOTrainer]
SPELLING = {"grpo": ("grpo", "token"), "dapo": ("dapo", "token"), "dr_grpo": ("dr_grpo", "token"), "gspo": ("grpo", "sequence")}


def reward(completions: list[str], **_: Any) -> list[float]:
    """Any reward that differs among rollouts will do."""
    return [float(len(set(completion.split()))) for completion in completions]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A TRL trainer of one kind, on a fresh copy of the model in float64."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("text model")
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *"abcd"])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            initializer_range=0.8,
            pad_token_id=0,
            eos_token_id=1,
        )
        Qwen2ForCausalLM(config).double().save_pretrained(folder)
    prompts = Dataset.from_dict({"prompt": ["a b c", "d a", "b b d c"]})

    def trainer(kind: PolicyKind, exact: bool = True, **options: Any) -> GRPOTrainer:
        loss_type, level = SPELLING[kind]
        settings = {
            "output_dir": str(folder / "out"),
            "use_cpu": True,
            "bf16": False,
            "report_to": [],
            "seed": 3,
            "gradient_checkpointing": False,
            "per_device_train_batch_size": ITEMS * SIZE,
            "num_generations": SIZE,
            "max_completion_length": LONGEST,
            "num_iterations": 2,  # so that the behaviour policy's log-probabilities are kept
            "temperature": 2.0,
            "epsilon": CLIP,
            "epsilon_high": CLIP_HIGH,
            "beta": 0.0,
            "use_bias_correction_kl": False,  # GRPO's KL as published; TRL's default weighs it by the ratio (DeepSeek-V3.2)
            "loss_type": loss_type,
            "importance_sampling_level": level,
            "scale_rewards": "none" if kind == "dr_grpo" else "group",
        }
        model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float64)
        made = GRPOTrainer(model, reward, GRPOConfig(**(settings | options)), prompts, processing_class=tokenizer)
        made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps  # set by the loop of `train`
        made.max_completion_length = MAX_TOKENS
        made.model.train()
        if exact:
            made._get_per_token_logps_and_entropies = partial(exact_scores, made)
        return made

    return trainer


def rollouts(trainer: GRPOTrainer) -> Inputs:
    """TRL's own generation and scoring of one batch: groups of SIZE rollouts for each prompt."""
    rows = [row for row in trainer.train_dataset for _ in range(SIZE)]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return trainer._generate_and_score_completions(rows)


def plain_logits(model: Any, ids: Tensor, mask: Tensor, width: int) -> Tensor:
    """What the model's ordinary forward pass predicts the last `width` tokens with, (N, width, V)."""
    return model(input_ids=ids, attention_mask=mask).logits[:, -width - 1 : -1]


def exact_scores(trainer: GRPOTrainer, model: Any, ids: Tensor, mask: Tensor, width: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
    """Stands in for TRL's scoring of tokens: (log-probabilities, entropies, nothing), in float64 as the model is."""
    logs = (plain_logits(model, ids, mask, width) / trainer.temperature).log_softmax(-1)
    return logs.gather(-1, ids[:, -width:, None])[..., 0], -(logs.exp() * logs).sum(-1).detach(), None


def plain_logprobs(trainer: GRPOTrainer, inputs: Inputs) -> Tensor:
    """Our log-probabilities of the completions, (N, T)."""
    ids, mask = (torch.cat([inputs[f"prompt_{name}"], inputs[f"completion_{name}"]], 1) for name in ("ids", "mask"))
    logits = plain_logits(trainer.model, ids, mask, inputs["completion_ids"].shape[1])
    return token_logprobs(logits / trainer.temperature, inputs["completion_ids"])


def our_terms(trainer: GRPOTrainer, kind: PolicyKind, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Our terms from the same rollouts, old and reference log-probabilities and advantages."""

    def grouped(values: Tensor) -> Tensor:
        return values.view(-1, SIZE, values.shape[-1])

    return policy_terms(
        kind,
        grouped(plain_logprobs(trainer, inputs)),
        grouped(inputs["old_per_token_logps"]),
        inputs["advantages"].view(-1, SIZE),
        grouped(inputs["completion_mask"]),
        clip=CLIP,
        clip_high=CLIP_HIGH,
        max_tokens=MAX_TOKENS,
        reference=grouped(inputs["ref_per_token_logps"]) if trainer.beta else None,
        kl_weight=trainer.beta,
    )


def gradient(loss: Tensor, trainer: GRPOTrainer) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(trainer.model.parameters()))])


def test_log_probabilities_are_those_of_trl_in_its_precision(make: Make) -> None:
    trainer = make("grpo", exact=False)
    inputs = rollouts(trainer)
    held = inputs["completion_mask"].bool()
    assert inputs["old_per_token_logps"].dtype == torch.float32
    torch.testing.assert_close(plain_logprobs(trainer, inputs)[held].float(), inputs["old_per_token_logps"][held], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("kind", list(SPELLING))
def test_loss_and_gradient_are_those_of_trl_over_several_inner_iterations(make: Make, kind: PolicyKind, beta: float) -> None:
    trainer = make(kind, beta=beta)
    inputs = rollouts(trainer)
    lengths = inputs["completion_mask"].sum(-1)
    assert lengths.min() < lengths.max() and inputs["advantages"].abs().max() > 0
    losses = []
    for iteration in range(3):
        theirs = trainer.compute_loss(trainer.model, inputs)
        sums, weights = our_terms(trainer, kind, inputs)
        ours = sums.sum() / weights.sum()
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
        want = gradient(theirs, trainer)
        torch.testing.assert_close(gradient(ours, trainer), want, rtol=1e-6, atol=1e-9)
        losses.append(theirs.item())
        ratio = (plain_logprobs(trainer, inputs) - inputs["old_per_token_logps"]).detach().exp()[inputs["completion_mask"].bool()]
        assert iteration == 0 or (((ratio < 1 - CLIP) | (ratio > 1 + CLIP_HIGH)).any() and (ratio - 1).abs().min() < CLIP)
        torch.nn.utils.vector_to_parameters(
            torch.nn.utils.parameters_to_vector(trainer.model.parameters()) - 0.4 * want / want.norm(), trainer.model.parameters()
        )
    assert len(set(losses)) == 3


@pytest.mark.parametrize("kind", list(SPELLING))
def test_micro_batches_add_up_as_in_trl(make: Make, kind: PolicyKind) -> None:
    """TRL normalises each micro-batch for the whole step; ours adds its terms up and divides once."""
    trainer = make(kind, per_device_train_batch_size=SIZE, gradient_accumulation_steps=ITEMS)
    inputs = rollouts(trainer)
    parts = [{name: value[k * SIZE : (k + 1) * SIZE] if value.dim() else value for name, value in inputs.items()} for k in range(ITEMS)]
    theirs = sum(trainer.compute_loss(trainer.model, part) for part in parts)
    terms = [our_terms(trainer, kind, part) for part in parts]
    ours = sum(sums.sum() for sums, _ in terms) / sum(weights.sum() for _, weights in terms)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient(ours, trainer), gradient(theirs, trainer), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", list(SPELLING))
def test_a_completion_without_tokens_is_handled_as_in_trl(make: Make, kind: PolicyKind) -> None:
    trainer = make(kind)
    inputs = rollouts(trainer)
    inputs["completion_mask"][1] = 0
    inputs["num_items_in_batch"] = inputs["completion_mask"].sum()
    sums, weights = our_terms(trainer, kind, inputs)
    theirs = trainer.compute_loss(trainer.model, inputs)
    torch.testing.assert_close(sums.sum() / weights.sum(), theirs, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient(sums.sum() / weights.sum(), trainer), gradient(theirs, trainer), rtol=1e-6, atol=1e-9)


def test_unscaled_advantages_are_those_of_trl(make: Make) -> None:
    """Scaled ones differ on purpose: TRL divides by the sample standard deviation + 1e-4, EchoDistill by the population's."""
    trainer = make("dr_grpo")
    inputs = rollouts(trainer)
    rewards = torch.tensor(reward(trainer.processing_class.batch_decode(inputs["completion_ids"], skip_special_tokens=True)))
    torch.testing.assert_close(group_advantages(rewards.view(-1, SIZE), scale=False).flatten(), inputs["advantages"].float(), atol=1e-6, rtol=0)
