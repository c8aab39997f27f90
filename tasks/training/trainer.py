"""One `transformers.Trainer` for every method: an objective takes what student and teacher say of a batch to a loss."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainingArguments

from tasks.common.errors import UserError
from tasks.common.tables import write_text
from tasks.training.adaptive import Adaptive, Answers, least_certain
from tasks.training.checkpoints import Run, name_of
from tasks.training.data import Curriculum, collate
from tasks.training.methods import Objective, flags
from tasks.training.params import PolicyParams, RunParams
from tasks.training.passes import Cast, Passes
from tasks.training.processes import here
from tasks.training.watch import Average, Figures, Probe, Watch

STATE, WEIGHTS = "state.pt", "weights.safetensors"


class Stateful(Protocol):
    """What a checkpoint holds beside the Trainer's own."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class MethodTrainer(Trainer):
    """A Trainer whose loss is the method's objective, averaged over the step whatever its micro-batches and processes.

    Raises UserError where the loss or the gradient is not a finite number, and where a checkpoint cannot be written.
    """

    def __init__(
        self,
        name: str,
        objective: Objective,
        cast: Cast,
        watch: Watch,
        stateful: Mapping[str, Stateful],
        run: Run | None,
        answers: Answers | None,
        candidates: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.answers, self.candidates = answers, candidates
        self.model_accepts_loss_kwargs = False  # the objectives average themselves
        self.name, self.objective, self.cast, self.watch, self.stateful, self.run = name, objective, cast, watch, stateful, run
        alone = self.args.gradient_accumulation_steps * self.accelerator.num_processes == 1
        dapo = any(isinstance(part.params, PolicyParams) and part.params.loss == "dapo" for part in objective.parts)
        self.tokens_first = dapo and not alone  # its mean is over the tokens of all the step's rollouts

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> AbstractContextManager[Any]:
        """The teacher's passes and the losses in the run's precision too, not the student's alone."""
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the count walks all modules in every step."""
        return 0

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step, each told how many items of the whole step every mean goes over."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, count
        if self.candidates > 1:
            batches = [self._narrowed(batch) for batch in batches]
        here = flags(batches)
        if self.cast.generate is not None:
            self.cast.generate(self.model, batches)
        elif self.tokens_first:
            self._sample(batches)
        if self.tokens_first:
            here["rollout_tokens"] = float(sum(batch["rollouts_student"].mask.sum().item() for batch in batches))
        totals = here
        if self.accelerator.num_processes > 1:
            counted = self.accelerator.gather(torch.tensor([list(here.values())], dtype=torch.float64, device=device)).sum(0)
            totals = dict(zip(here, counted.tolist(), strict=True))
        copies = len(batches) * self.accelerator.num_processes
        return [{**batch, "totals": totals, "copies": copies} for batch in batches], count

    @torch.no_grad()
    def _narrowed(self, batch: dict[str, Any]) -> dict[str, Any]:
        with self.compute_loss_context_manager():
            return least_certain(Passes(self.model, self.cast, self._prepare_inputs(batch)), self.candidates)

    @torch.no_grad()
    def _sample(self, batches: list[dict[str, Any]]) -> None:
        self.model.train()
        for batch in batches:
            with self.compute_loss_context_manager():
                batch["rollouts_student"] = Passes(self.model, self.cast, batch).rollouts()

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        passes = Passes(self.model, self.cast, inputs)
        loss = through(model, self.model, lambda: self.objective(passes))
        value = loss.item()
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {value}")
        if self.answers:
            self.answers.hear(passes)
        self.watch.tally.add("loss", value, 1.0)
        for name, figure in passes.figures.items():
            self.watch.tally.add(name, figure, passes.counts.get(name, float(len(inputs["position"]))))
        for row in map(self.train_dataset.rows.__getitem__, inputs["row"]):  # what the step was made of: the curriculum as it was gone through
            for name in ("snr_db", "stage"):
                if row[name] is not None:
                    self.watch.tally.add(name, float(row[name]), 1.0)
        return (loss, {}) if return_outputs else loss

    def _clip_grad_norm(self, model: Any) -> Any:
        gradients = {name: weight.grad for name, weight in self.model.named_parameters() if weight.grad is not None}
        if not torch.isfinite(torch.nn.utils.get_total_norm(gradients.values())):  # clipped, all would be NaN
            bad = next((name for name, gradient in gradients.items() if not gradient.isfinite().all()), "the weights together")
            raise self._diverged(f"the gradient of {bad} is not finite")
        return super()._clip_grad_norm(model)

    def _diverged(self, what: str) -> UserError:
        where = f"training {self.name}, step {self.state.global_step + 1}"
        return UserError(where, what, f"Lower training.{self.name}.learning_rate, or clip_norm")

    # -- checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.run.draft) if self.run else self.args.output_dir

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The Trainer's checkpoint (optimiser, schedule, sampler's place, random states) and ours, as a draft until all of it is on disk."""
        assert self.run is not None
        step, main = self.state.global_step, self.accelerator.is_main_process
        state = {name: part.state_dict() for name, part in self.stateful.items()}
        with self.run.saving(step):
            if main:
                self.run.start_draft()
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            if main:
                torch.save(state, self.run.draft / name_of(step) / STATE)
            self.accelerator.wait_for_everyone()
            if main:
                self.run.finish_draft(step)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Only what learns, under the model's own names: what is frozen is in the backbone."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        if not self.is_fsdp_enabled:
            learning = {name: weight.detach().contiguous() for name, weight in self.model.named_parameters() if weight.requires_grad}
            save_file(learning, folder / WEIGHTS)

    @torch.no_grad()
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        weights = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                weight.copy_(weights[name])


def through(wrapped: Any, inner: Any, body: Callable[[], Tensor]) -> Tensor:
    """The loss `body` makes of several passes of `inner`, made inside the one forward of `wrapped`.

    Data parallelism readies its exchange of gradients in its own forward and expects one of those a backward, so the forward that it
    calls is the whole loss.
    """
    if wrapped is inner:
        return body()
    own = inner.__dict__.pop("forward", None)  # there where accelerate put it, to cast

    def restore() -> None:
        inner.__dict__.pop("forward", None)
        if own is not None:
            inner.forward = own

    def whole() -> Tensor:
        restore()
        return body()

    inner.forward = whole
    try:
        loss: Tensor = wrapped()
    finally:
        restore()
    return loss


def train(
    name: str,
    model: Any,
    dataset: Curriculum,
    objective: Objective,
    cast: Cast,
    params: RunParams,
    log_every: int,
    *,
    run: Run | None = None,
    board: Path | None = None,
    probe: Probe | None = None,
) -> tuple[list[Figures], dict[str, Tensor] | None]:
    """Train `model` in place over `dataset`, in its order.

    Returns the lines of the log, and on the main process all weights where `model` was sharded (FSDP) and holds only a part of them.

    Args:
        run: where checkpoints lie, to go on from the newest and to write further ones; None keeps none.
        board: folder for TensorBoard.
        probe: asks the model validation questions every `params.validate_every` steps.

    Raises UserError for micro-batches that are not whole.
    """
    processes = here().num_processes
    micro, rest = divmod(params.batch_items, params.accumulate * processes)
    if rest or not micro:
        parts = f"{params.accumulate} micro-batches" + (f" on {processes} processes" if processes > 1 else "")
        raise UserError(f"training.{name}", f"{params.batch_items} items do not divide into {parts}", "Change batch_items or accumulate")
    watch = Watch(name, log_every, board, probe, params.validate_every)
    average = Average(params.ema) if params.ema else None
    order = dataset.order
    answers = Answers(order) if isinstance(order, Adaptive) else None
    stateful: dict[str, Stateful] = {"watch": watch}
    if average:
        stateful["average"] = average
    if isinstance(order, Adaptive):
        stateful["order"] = order
    newest = run.newest() if run else None
    if newest:
        saved = torch.load(newest / STATE, map_location="cpu", weights_only=True)
        for part, thing in stateful.items():
            thing.load_state_dict(saved[part])
    with nullcontext(run.folder) if run else tempfile.TemporaryDirectory() as folder:
        trainer = MethodTrainer(
            name,
            objective,
            cast,
            watch,
            stateful,
            run,
            answers,
            dataset.candidates,
            model=model,
            train_dataset=dataset,
            data_collator=partial(collate, pad=cast.processor.tokenizer.pad_token_id),
            callbacks=[watch, *([average] if average else []), *([answers] if answers else [])],
            args=TrainingArguments(
                output_dir=str(folder),
                max_steps=params.steps,
                per_device_train_batch_size=micro * dataset.candidates,
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
                use_cpu=here().device.type == "cpu",
                bf16=params.precision == "bf16",
                remove_unused_columns=False,
                dataloader_pin_memory=torch.cuda.is_available(),
                ddp_find_unused_parameters=True,  # a method need not reach every weight, text alone no audio tower
                save_strategy="steps" if run else "no",
                save_steps=params.save_every or params.steps,
                logging_strategy="no",
                logging_nan_inf_filter=False,  # stopped at before
                report_to="none",
                disable_tqdm=True,
            ),
        )
        trainer.remove_callback(PrinterCallback)
        with closing(watch):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        whole = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    return watch.lines, whole


def write_log(path: Path, lines: list[dict[str, Any]]) -> None:
    """One JSON object a line; no times, so that equal runs write equal bytes."""
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
