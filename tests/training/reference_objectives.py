"""Slow references in float64: every objective written as loops over items, rollouts, tokens and vocabulary, from the papers' equations.

Nothing here is shared with `tasks.training`. A stop-gradient of an equation is a plain float (`item`), all else stays differentiable.
"""

import math

import torch
from torch import Tensor

ZERO = torch.zeros((), dtype=torch.float64)


def softmax(row: Tensor) -> list[Tensor]:
    powers = [torch.exp(value - row.max().item()) for value in row]
    total = sum(powers, ZERO)
    return [power / total for power in powers]


def log_probability(row: Tensor, token: int) -> Tensor:
    return torch.log(softmax(row)[token])


def divergence(p: list[Tensor], q: list[Tensor]) -> Tensor:
    """KL(p || q)."""
    return sum((pi * (torch.log(pi) - torch.log(qi)) for pi, qi in zip(p, q, strict=True)), ZERO)


def mean(values: list[Tensor]) -> Tensor:
    return sum(values, ZERO) / len(values) if values else ZERO


def places(mask: Tensor) -> list[int]:
    return [t for t in range(len(mask)) if mask[t]]


def token_kl(teacher: Tensor, student: Tensor, mask: Tensor, tau: float) -> Tensor:
    items = []
    for t_item, s_item, m in zip(teacher.tolist(), student, mask, strict=True):
        fixed = [torch.tensor(row, dtype=torch.float64) for row in t_item]
        items.append(mean([tau**2 * divergence(softmax(fixed[t] / tau), softmax(s_item[t] / tau)) for t in places(m)]))
    return torch.stack(items)


def reverse_kl(teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
    items = []
    for t_item, s_item, m in zip(teacher.tolist(), student, mask, strict=True):
        fixed = [torch.tensor(row, dtype=torch.float64) for row in t_item]
        items.append(mean([divergence(softmax(s_item[t]), softmax(fixed[t])) for t in places(m)]))
    return torch.stack(items)


def cross_entropy(student: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([-mean([log_probability(s[t], int(i[t])) for t in places(m)]) for s, i, m in zip(student, ids, mask, strict=True)])


def sampled_reverse_kl(teacher: Tensor, student: Tensor, behaviour: Tensor, mask: Tensor) -> Tensor:
    """X-OPD's J, negated, of one response after another: log-probabilities (N, T)."""
    items = []
    for phi, theta, old, m in zip(teacher, student, behaviour, mask, strict=True):
        terms = []
        for t in places(m):
            advantage = phi[t].item() - theta[t].item()
            terms.append(torch.exp(theta[t]) / math.exp(old[t].item()) * advantage)
        items.append(-mean(terms))
    return torch.stack(items)


def contrastive(heard: Tensor, unheard: Tensor, alpha: list[float]) -> Tensor:
    return torch.stack([h + a * (h - u) for h, u, a in zip(heard, unheard, alpha, strict=True)])


def feature_variance(features: Tensor, mask: Tensor) -> float:
    held = [features[b, p].tolist() for b in range(len(mask)) for p in places(mask[b])]
    means = [sum(column) / len(held) for column in zip(*held, strict=True)]
    return math.fsum((value - middle) ** 2 for row in held for value, middle in zip(row, means, strict=True)) / len(held)


def feature_distance(student: Tensor, teacher: Tensor, mask: Tensor, variance: float) -> Tensor:
    items = []
    for s, t, m in zip(student, teacher, mask, strict=True):
        items.append(mean([sum(((s[p, d] - t[p, d].item()) ** 2 for d in range(s.shape[1])), ZERO) / variance for p in places(m)]))
    return torch.stack(items)


def shaped(reward: float, closeness: float, beta: float) -> float:
    return max(-1.0, min(2.0, reward + (beta * closeness if reward > 0 else 0.0)))


def advantages(rewards: list[float], scale: bool = True) -> list[float]:
    middle = math.fsum(rewards) / len(rewards)
    std = math.sqrt(math.fsum((r - middle) ** 2 for r in rewards) / len(rewards))
    return [(r - middle) / (max(std, 1e-6) if scale else 1.0) for r in rewards]


def clipped(ratio: Tensor, advantage: float, low: float, high: float) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A)."""
    bounded = ratio if 1 - low <= ratio.item() <= 1 + high else ZERO + (1 - low if ratio.item() < 1 else 1 + high)
    return bounded * advantage if bounded.item() * advantage < ratio.item() * advantage else ratio * advantage


def k3(student: Tensor, reference: float) -> Tensor:
    ratio = math.exp(reference) / torch.exp(student)
    return ratio - torch.log(ratio) - 1


def kl_to_reference(student: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities (B, K, T), one value an item."""
    items = []
    for s, r, m in zip(student, reference, mask, strict=True):
        items.append(mean([mean([k3(s[k, t], r[k, t].item()) for t in places(m[k])]) for k in range(len(m))]))
    return torch.stack(items)


def policy_loss(
    kind: str,
    logprobs: Tensor,
    old: Tensor,
    advantage: Tensor,
    mask: Tensor,
    low: float,
    high: float,
    max_tokens: int,
    reference: Tensor,
    beta: float,
) -> Tensor:
    """The loss of a whole batch, as the paper of each kind states its objective: log-probabilities (B, K, T), advantages (B, K)."""
    size = mask.shape[0] * mask.shape[1]
    total = ZERO
    for b in range(mask.shape[0]):
        for k in range(mask.shape[1]):
            spots = places(mask[b, k])
            if not spots:
                continue
            ratios = [torch.exp(logprobs[b, k, t] - old[b, k, t].item()) for t in spots]
            if kind == "gspo":
                ratios = [torch.pow(math.prod(ratios, start=ZERO + 1), 1 / len(spots))] * len(spots)
            terms = [
                beta * k3(logprobs[b, k, t], reference[b, k, t].item()) - clipped(ratio, advantage[b, k].item(), low, high)
                for t, ratio in zip(spots, ratios, strict=True)
            ]
            share = {
                "grpo": 1 / (size * len(spots)),
                "gspo": 1 / (size * len(spots)),
                "dapo": 1 / int(mask.sum()),
                "dr_grpo": 1 / (size * max_tokens),
            }[kind]
            total = total + share * sum(terms, ZERO)
    return total


def echodistill_surrogate(student: Tensor, teacher: Tensor, advantage: Tensor, mask: Tensor, clip: float) -> Tensor:
    """EchoDistill eq. 6 over a batch of rollouts that all have tokens: rho = exp(l_theta - sg[l_phi]), l the length-mean log-probability."""
    terms = []
    for b in range(mask.shape[0]):
        for k in range(mask.shape[1]):
            spots = places(mask[b, k])
            rho = torch.exp(mean([student[b, k, t] for t in spots]) - mean([teacher[b, k, t] for t in spots]).item())
            terms.append(-clipped(rho, advantage[b, k].item(), clip, clip))
    return mean(terms)
