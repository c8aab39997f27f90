"""EchoDistill (arXiv 2605.23954): the student hears noise, its frozen self hears the clean clip and leads it.

Rollouts from the noisy audio earn the task reward, standardised within their group; the clean teacher is the reference
scorer of the clipped surrogate, and its distributions along its own cached response are distilled token by token.
Ours beside that: the audio features are pulled towards the clean clip's, position by position, which the pairing allows.
"""

from typing import Any

import torch
from torch import Tensor

from tasks.common.seeds import seed_of
from tasks.items.answers import task_reward
from tasks.training import objectives
from tasks.training.params import EchoDistillParams
from tasks.training.rollouts import end_ids, sample
from tasks.training.scoring import Prefix, audio_positions, listening, read, teacher_forced
from tasks.training.trainer import Figures

RESPONSE = "reference"


class EchoDistill:
    """The paper's eq. 7 and our third term: lambda_policy L_policy + lambda_distill L_distill + lambda_features L_features.

    Args:
        teacher: the frozen backbone, on the student's device.
        processor: its processor, to read the rollouts.
        params: weights and group size.
    """

    views = ("clean",)

    def __init__(self, teacher: Any, processor: Any, params: EchoDistillParams) -> None:
        self.teacher, self.params = teacher, params
        self.tokenizer, self.audio_token = processor.tokenizer, processor.audio_token_id
        self.ends = end_ids(teacher)

    def __call__(self, model: Any, batch: dict[str, Any], step: int) -> tuple[Tensor, Figures]:
        params = self.params
        with listening(model) as noisy_features:
            heard = read(model, batch["student"])
        with torch.no_grad(), listening(self.teacher) as clean_features:
            clean = read(self.teacher, batch["clean"])
            reference = teacher_forced(self.teacher, clean, batch["response"], batch["response_mask"])
        echo = teacher_forced(model, heard, batch["response"], batch["response_mask"])
        divergence = objectives.token_kl(reference, echo, batch["response_mask"])
        gate = batch["trusted"] if params.teacher_gate else torch.ones_like(batch["trusted"])
        distill = objectives.gated_mean(divergence, gate)
        width = clean_features[0].shape[1]
        both = audio_positions(batch["student"], self.audio_token, width) * audio_positions(batch["clean"], self.audio_token, width)
        features = objectives.feature_distance(noisy_features[0], clean_features[0], both)
        figures = {"kl": distill.item(), "features": features.item()}
        loss = params.lambda_distill * distill + params.lambda_features * features
        if params.lambda_policy:
            policy, policy_figures = self.policy(model, batch, heard, clean, divergence.detach(), step)
            loss = loss + params.lambda_policy * policy
            figures |= policy_figures
        return loss, figures

    def policy(self, model: Any, batch: dict[str, Any], heard: Prefix, clean: Prefix, divergence: Tensor, step: int) -> tuple[Tensor, Figures]:
        """L_policy over `group_size` rollouts an item, and what they earned. `divergence` is L_distill of each item, (B,)."""
        params, size = self.params, self.params.group_size
        heard = heard.repeat(size)
        seed = seed_of("rollouts", params.seed, step)
        ids, mask = sample(model, heard.detach(), self.ends, self.tokenizer.pad_token_id, params.temperature, params.max_new_tokens, seed)
        rewards = self.rewards(ids, batch).to(divergence)
        student = objectives.masked_mean(objectives.token_logprobs(teacher_forced(model, heard, ids, mask), ids), mask).view(-1, size)
        with torch.no_grad():
            logits = teacher_forced(self.teacher, clean.repeat(size), ids, mask)
            teacher = objectives.masked_mean(objectives.token_logprobs(logits, ids), mask).view(-1, size)
        shaped = rewards
        if params.shaping != "off":
            closeness = (-divergence).exp()[:, None] if params.shaping == "instance" else teacher.exp()
            shaped = objectives.shaped_rewards(rewards, closeness, params.beta)
        advantages = objectives.group_advantages(shaped)
        signal = (rewards.amax(-1) > rewards.amin(-1)).double().mean()
        figures = {"reward": rewards.mean().item(), "signal": signal.item()}
        return objectives.clipped_surrogate(student, teacher, advantages, params.clip), figures

    def rewards(self, ids: Tensor, batch: dict[str, Any]) -> Tensor:
        """Task reward of each rollout, ids (B K, T) to (B, K)."""
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        size = self.params.group_size
        return torch.tensor(
            [
                [task_reward(text, options, answer) for text in texts[item * size : (item + 1) * size]]
                for item, (options, answer) in enumerate(zip(batch["options"], batch["answer"], strict=True))
            ]
        )
