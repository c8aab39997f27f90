"""What the methods optimise: pure functions on tensors, straight from the papers' equations.

Shapes: B items, K rollouts of each, T response tokens, V vocabulary entries. Logits at position t are those that
predict token t. Masks are 1 on response tokens and 0 on padding, so the amount of padding changes no value.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probability of each given token: logits (..., T, V) and ids (..., T) to (..., T)."""
    return logits.log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis where mask is 1; an empty row gives 0 and no gradient. Both (..., T), result (...)."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def token_kl(teacher: Tensor, student: Tensor, mask: Tensor, tau: float = 1.0) -> Tensor:
    """Token-mean of tau^2 KL(softmax(teacher / tau) || softmax(student / tau)).

    EchoDistill eq. 3 (tau = 1) and CAAD's L_CD. Logits (B, T, V) and mask (B, T) to (B,). The teacher gets no gradient.
    """
    teacher_log = (teacher.detach() / tau).log_softmax(-1)
    student_log = (student / tau).log_softmax(-1)
    divergence = F.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(-1)
    return tau**2 * masked_mean(divergence, mask)


def shaped_rewards(rewards: Tensor, closeness: Tensor, beta: float) -> Tensor:
    """EchoDistill eq. 4: clip(r + beta 1[r > 0] s, -1, 2).

    Args:
        rewards: task rewards r, (B, K).
        closeness: s in (0, 1], broadcastable to (B, K). As published it is exp(-L_distill), one value a group, and then
            a group of two reward levels keeps its standardised advantages; with exp(mean teacher log-prob of the
            rollout on clean audio), which is ours, it differs within the group.
        beta: bonus weight; 0 switches shaping off.
    """
    return (rewards + beta * (rewards > 0) * closeness).clamp(-1.0, 2.0)


def group_advantages(rewards: Tensor) -> Tensor:
    """EchoDistill eq. 5: (r - mean) / max(std, 1e-6) within each group, population std. (B, K) to (B, K).

    In float64, because the float32 mean of equal rewards is off by an ulp, which division by 1e-6 would turn into signal.
    """
    exact = rewards.double()
    centred = exact - exact.mean(-1, keepdim=True)
    return (centred / exact.std(-1, correction=0, keepdim=True).clamp(min=1e-6)).to(rewards.dtype)


def clipped_surrogate(student: Tensor, teacher: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """EchoDistill eq. 6, negated to be minimised: -mean min(rho A, clip(rho, 1 - clip, 1 + clip) A).

    Args:
        student: length-mean log-probs of the rollouts on noisy audio, (B, K).
        teacher: the same under the frozen teacher on clean audio, (B, K); the reference scorer, without gradient.
        advantages: (B, K), without gradient.
        clip: half-width of the trust interval around rho = 1.
    """
    rho = (student - teacher.detach()).exp()
    fixed = advantages.detach()
    return -torch.minimum(rho * fixed, rho.clamp(1.0 - clip, 1.0 + clip) * fixed).mean()


def contrastive_logits(heard: Tensor, unheard: Tensor, alpha: float) -> Tensor:
    """CAAD's teacher (1 + alpha) z+ - alpha z-: what hearing adds over the text prior. (B, T, V); alpha = 0 is plain KD."""
    return (1.0 + alpha) * heard - alpha * unheard


def feature_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared error of audio features relative to their spread: sum |s - t|^2 / sum |t - mean t|^2 over positions with mask 1.

    Ours, not EchoDistill's. Features (B, P, D) and mask (B, P) to a scalar; 1 is what predicting the mean would give.
    """
    heard, clean = student[mask.bool()], teacher.detach()[mask.bool()]
    spread = (clean - clean.mean(0)).square().sum()
    return (heard - clean).square().sum() / spread.clamp(min=1e-12)


def cross_entropy(student: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Token-mean negative log-likelihood of the Pseudo-GT (CAAD's L_GT): (B, T, V), (B, T), (B, T) to (B,)."""
    return -masked_mean(token_logprobs(student, ids), mask)


def caad_loss(contrast: Tensor, truth: Tensor, taught: Tensor, weight: float) -> Tensor:
    """CAAD's lambda L_CD + (1 - lambda) L_GT, mean over items; an item without a clean teacher has the CE term alone.

    Args:
        contrast: L_CD of each item, (B,).
        truth: L_GT of each item, (B,).
        taught: 1 where the item has a clean teacher, (B,).
        weight: lambda.
    """
    return torch.where(taught.bool(), weight * contrast + (1.0 - weight) * truth, truth).mean()


def gated_mean(values: Tensor, gate: Tensor) -> Tensor:
    """Mean of the items whose gate is 1, 0 when there is none. (B,), (B,) to a scalar."""
    return masked_mean(values, gate.to(values.dtype))
