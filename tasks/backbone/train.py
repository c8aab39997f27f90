"""Teaches the embedded model to understand clean speech: one loop, no randomness but what the seed decides.

Two things make it learn on a processor within minutes. The utterances are composed of single words, so it is known what is
said in every audio token: for most of the training the projected features are also pulled towards the embeddings of those
words (a cross-entropy over the words' own embeddings), which stands in for a pretrained encoder. And before there is any
audio the language model learns its questions from transcripts and from those very embeddings, laid out as audio is: what
a perfect ear would hand it.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tasks.backbone.lessons import IGNORE, Batch, Lessons, Mode
from tasks.backbone.params import TrainingParams
from tasks.common.fanout import progress
from tasks.common.seeds import rng_of


def mode_of(step: int, params: TrainingParams) -> Mode:
    """What stands in for the speech in this step: its words or its transcript in the first phase, mostly the audio in the second."""
    if step % params.question_every == 0:
        return "question"
    if step < params.text_steps:
        return "text" if step % 2 else "words"
    return "text" if step % params.text_every == params.text_every - 1 else "audio"


def draw(lessons: Lessons, step: int, params: TrainingParams) -> Batch:
    """The batch of a step; once there is audio, utterances grow from one word to the longest over the first `grow` of its steps."""
    grown = 1.0 if step < params.text_steps else (step - params.text_steps) / max(1.0, params.grow * params.steps)
    words = min(lessons.max_words, 1 + int(grown * (lessons.max_words - 1) + 0.5))
    return lessons.batch(rng_of("backbone", params.seed, step), params.batch, words, mode_of(step, params))


def batches(lessons: Lessons, params: TrainingParams) -> Iterator[Batch]:
    """The batches of all steps in order, the next one drawn while the current one is learnt."""
    last = params.text_steps + params.steps - 1
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(draw, lessons, 0, params)
        for step in range(last + 1):
            batch = future.result()
            if step < last:
                future = pool.submit(draw, lessons, step + 1, params)
            yield batch


def rate(step: int, params: TrainingParams) -> float:
    """Factor on the learning rates, in each phase: a linear warm-up, then a cosine down to 2 %."""
    step, steps = (step, params.text_steps) if step < params.text_steps else (step - params.text_steps, params.steps)
    return min(1.0, (step + 1) / params.warm_up) * (0.02 + 0.49 * (1.0 + math.cos(math.pi * step / steps)))


def language_rate(step: int, params: TrainingParams) -> float:
    """The same for the language model, which only adapts once there is audio: at the full rate it forgets what it learnt from text."""
    return rate(step, params) * (1.0 if step < params.text_steps else params.language_rate)


class WordHead(torch.nn.Module):
    """Scores of the projected features for the words' own embeddings, and for the audio placeholder's where nothing is said."""

    def __init__(self, lessons: Lessons) -> None:
        super().__init__()
        self.tokens = [[lessons.audio_id], *lessons.word_ids]
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, features: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """(..., width) and (tokens, width) to (..., 1 + words)."""
        return self.scale * features @ torch.stack([embeddings[ids].mean(0) for ids in self.tokens]).T


def optimizers_of(model: Any, head: torch.nn.Module, params: TrainingParams) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the matrices inside the layers, AdamW for everything else; each a group for hearing, then one for language.

    Measured on tower and head alone, 400 steps: of the frames with a word, Muon names 70 % right, AdamW at its best 50 %.
    """
    hearing = [*model.model.audio_tower.named_parameters(), *model.model.multi_modal_projector.named_parameters(), *head.named_parameters()]
    language = [*model.model.language_model.named_parameters(), *model.lm_head.named_parameters()]
    matrices, others = (
        [
            [weight for name, weight in part if weight.requires_grad and (weight.ndim == 2 and name.startswith("layers.")) == inner]
            for part in (hearing, language)
        ]
        for inner in (True, False)
    )
    muon = [{"params": matrices[0], "lr": params.audio_learning_rate}, {"params": matrices[1], "lr": params.text_learning_rate}]
    return [
        torch.optim.Muon(muon, weight_decay=params.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": part} for part in others], params.learning_rate, betas=(0.9, 0.98), weight_decay=params.weight_decay, fused=True
        ),
    ]


def weighted_loss(logits: torch.Tensor, targets: torch.Tensor, answer_tag: int, weight: float) -> torch.Tensor:
    """Cross-entropy of (tokens, vocabulary) in which the token after `<answer>` counts `weight` times: the others are soon certain."""
    weights = torch.ones(len(targets))
    weights[1:][targets[:-1] == answer_tag] = weight
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()


def train(model: Any, lessons: Lessons, params: TrainingParams) -> list[dict[str, float]]:
    """Train `model` in place; returns the rows of train_log.jsonl (every `log_every` steps)."""
    heard: list[torch.Tensor] = []
    hook = model.model.multi_modal_projector.register_forward_hook(lambda module, args, out: heard.append(out))
    embeddings = model.get_input_embeddings().weight
    (answer_tag,) = lessons.ids("<answer>")
    head = WordHead(lessons)
    weights = [weight for module in (model, head) for weight in module.parameters() if weight.requires_grad]
    optimizers = optimizers_of(model, head, params)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: rate(step, params), lambda step: language_rate(step, params)])
        for optimizer in optimizers
    ]
    model.train()
    log: list[dict[str, float]] = []
    recent: dict[str, list[float]] = {"loss": [], "word_loss": [], "token_accuracy": []}
    steps = params.text_steps + params.steps
    with progress(steps, "backbone", "step") as bar:
        for step, batch in enumerate(batches(lessons, params)):
            heard.clear()
            hidden = model.model(**batch.inputs).last_hidden_state[:, :-1]
            answered = batch.labels[:, 1:] != IGNORE
            logits, targets = model.lm_head(hidden[answered]), batch.labels[:, 1:][answered]
            loss = weighted_loss(logits, targets, answer_tag, params.answer_weight)
            total = loss
            if mode_of(step, params) != "question":
                recent["loss"].append(loss.item())
                recent["token_accuracy"].append((logits.argmax(-1) == targets).float().mean().item())
            if mode_of(step, params) == "audio" and step < params.text_steps + params.word_loss_until * params.steps:
                scores = head(heard[0], embeddings)
                word_loss = F.cross_entropy(scores.flatten(0, 1), batch.words_at.flatten(), ignore_index=IGNORE)
                recent["word_loss"].append(word_loss.item())
                total = loss + word_loss
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            bar.update()
            if (step + 1) % params.log_every == 0 or step + 1 == steps:
                means = {name: round(float(np.mean(values)), 4) for name, values in recent.items() if values}
                log.append({"step": step + 1, "rate": round(rate(step, params), 4), **means})
                bar.set_postfix(means)
                for values in recent.values():
                    values.clear()
    hook.remove()
    return log
