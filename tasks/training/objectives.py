"""What the methods optimise: pure functions on tensors, straight from the papers' equations.

Shapes: B items, K rollouts of each, T response tokens, V vocabulary entries, P audio positions of D features. Logits at
position t are those that predict token t. Masks are 1 on response tokens (or positions that hold sound) and 0 on padding;
padding may hold any number up to 1e30 in size and changes neither values nor gradients. Every loss is one value an item:
the caller alone knows the batch over which items are averaged. The surrogates of a task reward are in `policy_losses`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SLICE = 2**26  # logits that are float32 at once, 256 MB: a group along a few hundred tokens of a vocabulary of 152,000 would be many times that


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis, in float32 at least: half precision would round a ratio of two of them to a few percent."""
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def sliced(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function`, one value a row of logits (N, ..., V) and what comes with them (N, ...), in slices of `SLICE` logits.

    Where there are several, each is computed again in the backward pass, so that only the logits themselves are kept.
    """
    rows = max(1, SLICE // max(1, tensors[0][:1].numel()))
    if rows >= len(tensors[0]):
        return function(*tensors)
    parts = zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)
    return torch.cat([checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def token_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probability of each given token: logits (..., T, V) and ids (..., T) to (..., T)."""
    return sliced(lambda logits, ids: log_softmax(logits).gather(-1, ids.unsqueeze(-1)).squeeze(-1), logits, ids)


def _kl(target: Tensor, other: Tensor, tau: float = 1.0) -> Tensor:
    """KL(softmax(target / tau) || softmax(other / tau)) at each place, (..., V) to (...)."""
    return F.kl_div(log_softmax(other / tau), log_softmax(target / tau), reduction="none", log_target=True).sum(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis where mask is 1; an empty row gives 0 and no gradient. Both (..., T), result (...)."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def token_kl(teacher: Tensor, student: Tensor, mask: Tensor, tau: float = 1.0) -> Tensor:
    """Token-mean of tau^2 KL(softmax(teacher / tau) || softmax(student / tau)): the forward KL, over the whole vocabulary.

    EchoDistill eq. 3 (tau = 1), CAAD's L_CD, and GKD along the student's own tokens. Logits (B, T, V) and mask (B, T) to (B,).
    The teacher gets no gradient.
    """
    divergence = sliced(lambda teacher, student: _kl(teacher, student, tau), teacher.detach(), student)
    return tau**2 * masked_mean(divergence, mask)


def reverse_kl(teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
    """Token-mean of KL(softmax(student) || softmax(teacher)), over the whole vocabulary, along tokens the student sampled.

    X-OPD (arXiv 2603.24596) with `estimator: full`, in both branches. Logits (B, T, V) and mask (B, T) to (B,). The teacher gets
    no gradient, and neither does the choice of the tokens.
    """
    divergence = sliced(lambda teacher, student: _kl(student, teacher), teacher.detach(), student)
    return masked_mean(divergence, mask)


def sampled_reverse_kl(teacher_logprobs: Tensor, student_logprobs: Tensor, behaviour_logprobs: Tensor, mask: Tensor) -> Tensor:
    """X-OPD's objective negated: -(1/|y|) sum_t r_t sg[A_t], A_t = log pi_phi - log pi_theta, r_t = pi_theta / pi_old.

    Log-probabilities of the sampled tokens under the teacher, the student and the policy that sampled them, each (..., T), and
    mask (..., T), to (...). Only the student gets a gradient. Given the tokens before it, each token's gradient is in expectation
    that of `reverse_kl`; the value is not, and where |y| depends on the tokens the 1/|y| weight ties the two together.
    """
    ratio = torch.where(mask.bool(), student_logprobs - behaviour_logprobs.detach(), 0.0).exp()
    advantage = (teacher_logprobs - student_logprobs).detach()
    return -masked_mean(ratio * advantage, mask)


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


def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """EchoDistill eq. 5: (r - mean) / max(std, 1e-6) within each group, population std. (B, K) to (B, K).

    `scale=False` leaves the division out, as Dr. GRPO does (arXiv 2503.20783). In float64 and from the group's first reward, so
    that a group of equal rewards has advantages of exactly 0: a mean that is off by an ulp would become signal when divided by 1e-6.
    """
    exact = rewards.detach().double()
    exact = exact - exact[..., :1]
    centred = exact - exact.mean(-1, keepdim=True)
    if scale:
        centred = centred / exact.std(-1, correction=0, keepdim=True).clamp(min=1e-6)
    return centred.to(rewards.dtype)


def contrastive_logits(heard: Tensor, unheard: Tensor, alpha: float | Tensor) -> Tensor:
    """CAAD's teacher (1 + alpha) z+ - alpha z-: what hearing adds over the text prior. (B, T, V); alpha = 0 is plain distillation.

    `alpha` is one number, or one an item, (B,).
    """
    if isinstance(alpha, Tensor):
        alpha = alpha.to(heard)[:, None, None]
    return (1.0 + alpha) * heard - alpha * unheard


def feature_distance(student: Tensor, teacher: Tensor, mask: Tensor, variance: float) -> Tensor:
    """Squared distance of audio features relative to their spread: mean of |s - t|^2 / variance over positions with mask 1.

    Ours, not EchoDistill's. Features (B, P, D) and mask (B, P) to (B,); 1 is about what predicting the mean would give. The
    teacher gets no gradient. `variance` is `feature_variance` of the teacher's features, a constant, so that an item's distance
    does not depend on the batch it is in.
    """
    apart = torch.where(mask.bool().unsqueeze(-1), student - teacher.detach(), 0.0)
    return masked_mean(apart.square().sum(-1), mask) / variance


def feature_variance(features: Tensor, mask: Tensor) -> float:
    """Mean of |t - mean t|^2 over all positions with mask 1: (B, P, D) and (B, P) to a number.

    Raises ValueError where it is not above 0 (no position, or all alike), since nothing can be measured by it.
    """
    held = features.detach()[mask.bool()].double()
    variance = float((held - held.mean(0)).square().sum(-1).mean())
    if not variance > 0:
        raise ValueError(f"features of {len(held)} positions have the variance {variance}")
    return variance


def cross_entropy(student: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Token-mean negative log-likelihood of the given tokens (SFT; CAAD's L_GT): (B, T, V), (B, T), (B, T) to (B,)."""
    return -masked_mean(token_logprobs(student, ids), mask)
