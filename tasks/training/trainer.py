"""One `transformers.Trainer` for every method: an objective takes what student and teacher say of a batch to a loss."""

import json
import tempfile
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from tasks.common.errors import UserError
from tasks.common.fanout import progress
from tasks.training.data import Curriculum, collate
from tasks.training.methods import Objective, flags
from tasks.training.params import RunParams
from tasks.training.passes import Cast, Figures, Passes


class MethodTrainer(Trainer):
    """A Trainer whose loss is the method's objective, averaged over the step whatever its micro-batches and processes.

    Raises UserError where the loss is not a finite number.
    """

    def __init__(self, name: str, objective: Objective, cast: Cast, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = False  # the objectives average themselves
        self.name, self.objective, self.cast = name, objective, cast
        self.figures: list[Figures] = []

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step, each told how many items of the whole step every mean goes over."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        if batches:
            here = flags(batches)
            counted = self.accelerator.gather(torch.tensor([list(here.values())], dtype=torch.float64, device=device)).sum(0)
            totals = dict(zip(here, counted.tolist(), strict=True))
            copies = len(batches) * self.accelerator.num_processes
            batches = [{**batch, "totals": totals, "copies": copies} for batch in batches]
        return batches, count

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        passes = Passes(model, self.cast, inputs)
        loss = self.objective(passes)
        if not torch.isfinite(loss):
            where = f"training {self.name}, step {self.state.global_step + 1}"
            raise UserError(where, f"the loss is {loss.item()}", f"Lower training.{self.name}.learning_rate, or clip_norm")
        self.figures.append({"loss": loss.item(), **passes.figures})
        return (loss, {}) if return_outputs else loss


class Watch(TrainerCallback):
    """A live bar, and a line of means every `every` steps in `lines`."""

    def __init__(self, name: str, every: int) -> None:
        self.name, self.every = name, every
        self.lines: list[Figures] = []
        self.recent: list[Figures] = []
        self.trainer: MethodTrainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = progress(state.max_steps, self.name, "step")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer is not None
        self.recent += self.trainer.figures
        self.trainer.figures = []
        self.bar.update()
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            means = {key: round(fmean(figures[key] for figures in self.recent), 6) for key in self.recent[0]}
            rate = kwargs["lr_scheduler"].get_last_lr()[0]
            self.lines.append({"step": state.global_step, "learning_rate": float(f"{rate:.6g}"), **means})
            self.bar.set_postfix({key: f"{value:.3f}" for key, value in means.items()})
            self.recent = []

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


class Average(TrainerCallback):
    """Exponential moving average of the weights, which the model takes over at the end."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: list[Tensor] = []

    @torch.no_grad()
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.mean = [weight.detach().clone() for weight in kwargs["model"].parameters()]

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for mean, weight in zip(self.mean, kwargs["model"].parameters(), strict=True):
            mean.lerp_(weight, 1.0 - self.decay)

    @torch.no_grad()
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for mean, weight in zip(self.mean, kwargs["model"].parameters(), strict=True):
            weight.copy_(mean)


def train(name: str, model: Any, dataset: Curriculum, objective: Objective, cast: Cast, params: RunParams, log_every: int) -> list[Figures]:
    """Train `model` in place over `dataset`, in its order; returns the lines of the log. Raises UserError for micro-batches that are not whole."""
    watch = Watch(name, log_every)
    micro = params.batch_items // params.accumulate
    if micro * params.accumulate != params.batch_items:
        raise UserError(
            f"training.{name}", f"{params.batch_items} items do not divide into {params.accumulate} micro-batches", "Change batch_items or accumulate"
        )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = MethodTrainer(
            name,
            objective,
            cast,
            model=model,
            train_dataset=dataset,
            data_collator=partial(collate, pad=cast.processor.tokenizer.pad_token_id),
            callbacks=[watch, *([Average(params.ema)] if params.ema else [])],
            args=TrainingArguments(
                output_dir=scratch,
                max_steps=params.steps,
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=params.accumulate,
                train_sampling_strategy="sequential",  # the dataset is in the curriculum's order
                learning_rate=params.learning_rate,
                lr_scheduler_type=params.schedule,
                warmup_steps=params.warmup_steps,
                adam_beta1=params.betas[0],
                adam_beta2=params.betas[1],
                weight_decay=params.weight_decay,
                max_grad_norm=params.clip_norm,
                seed=params.seed,
                remove_unused_columns=False,
                dataloader_pin_memory=torch.cuda.is_available(),
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        watch.trainer = trainer
        trainer.train()
    return watch.lines


def write_log(path: Path, lines: list[dict[str, Any]]) -> None:
    """One JSON object a line; no times, so that equal runs write equal bytes."""
    path.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines), encoding="utf-8")
