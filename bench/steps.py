"""One optimiser step of each method against the plainest correct implementation: same batch, same weights, same equations, one thread.

The trained backbone, sixteen rows of the curriculum, groups of eight, the methods as params.yaml has them. The plain one makes every pass by
itself over prompt and response as a whole, so that it hears the audio again for every rollout and every path, and samples with
`model.generate(num_return_sequences=..)`. It is batched as ours is, generates with a key-value cache, takes logits along responses only, and
the audio features from a pass that it makes anyway. Both sample by the same draws; before anything is timed, losses must agree to 1e-4 and
gradients to 1e-3 of their size. Medians of CPU time, each in turn, the optimiser included (at rate 0, so that turns are alike).

`caad_sync_over_token*` are eight items, the paper's batch, with targets of 64 tokens. The peer goes through them token by token, the teacher's two
paths and the student each with a key-value cache, as dual-path decoding does; `_teacher` has its student in one pass over the whole; and
`_uncached` reads audio, prompt and the tokens before again for each token, as the equations are written.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bench.table import Row
from tasks.training.data import Curriculum, clean_waves, collate, training_rows
from tasks.training.families import folder_family
from tasks.training.methods import Objective, flags, objective
from tasks.training.objectives import token_logprobs
from tasks.training.params import METHODS as PARAMS
from tasks.training.params import TrainingParams, run_params, training_params
from tasks.training.passes import Cast, Passes, Reading
from tasks.training.rollouts import Rollouts, end_ids, uniforms
from tasks.training.scoring import Prefix, audio_positions, listening
from tasks.training.stage import spread

BACKBONE = Path("models/backbone")
ITEMS, TURNS = 16, 9
CAAD_ITEMS, TARGET = 8, 64
UNREAD = Prefix((), torch.empty(0), torch.empty(0))
Batch = dict[str, Any]


class Drawn:
    """Leaves only the token that the draw picks, so that both sides sample the same rollouts."""

    def __init__(self, draws: Tensor, temperature: float) -> None:
        self.draws, self.temperature, self.taken = draws, temperature, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        mass = (scores.float() / self.temperature).softmax(-1).double().cumsum(-1)
        token = torch.searchsorted(mass, self.draws[:, self.taken, None] * mass[:, -1:], right=True).clamp(max=scores.shape[-1] - 1)
        self.taken += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


class Plain(Passes):
    """The passes of a plain implementation: each over the whole of prompt and response, none shared, rollouts from `generate`."""

    def whole(self, model: Any, view: str, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, T, V) along responses (N, T) from one pass over everything, the audio of every row included."""
        times, length = len(ids) // len(self.batch["taught"]), ids.shape[1]
        given = {name: tensor.repeat_interleave(times, 0) for name, tensor in self.batch[view].items()}
        given["input_ids"], given["attention_mask"] = torch.cat([given["input_ids"], ids], 1), torch.cat([given["attention_mask"], mask], 1)
        positions = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with listening(model) as features:
            hidden = model.model(**given, position_ids=positions, use_cache=False).last_hidden_state
        if features and times == 1:
            self._made["features", id(model), view] = features[0]
        logits: Tensor = model.lm_head(hidden[:, -length - 1 : -1])
        return logits

    def without_gradient(self, view: str, ids: Tensor, mask: Tensor) -> Tensor:
        """The same of the teacher."""
        with torch.no_grad():
            return self.whole(self.cast.teacher, view, ids, mask)

    def heard(self, view: str = "student") -> Reading:
        return self._features(self.student, view)

    def taught(self, view: str = "clean") -> Reading:
        return self._features(self.cast.teacher, view)

    def _features(self, model: Any, view: str) -> Reading:
        features = self._made["features", id(model), view]
        return Reading(UNREAD, features, audio_positions(self.batch[view], self.cast.processor.audio_token_id, features.shape[1]))

    def student_along(self, name: str, view: str = "student") -> Tensor:
        return self.whole(self.student, view, *self.response(name))

    def teacher_along(self, name: str, view: str = "clean") -> Tensor:
        return self.without_gradient(view, *self.response(name))

    def rollouts(self, view: str = "student") -> Rollouts:
        made: Rollouts = self._once(("rollouts", view), lambda: self._generated(view))
        return made

    def student_on(self, rollouts: Rollouts, view: str = "student") -> Tensor:
        logits: Tensor = self._made["student on", view]
        return logits

    def teacher_on(self, rollouts: Rollouts, view: str = "clean") -> Tensor:
        return self.without_gradient(view, rollouts.ids, rollouts.mask)

    def _generated(self, view: str) -> Rollouts:
        """Sampled responses; the pass that scores them has the gradient and, as no update lies between, gives the behaviour's log-probabilities."""
        how, given = self.cast.rollouts, self.batch[view]
        drawn = Drawn(uniforms(self.batch["position"], how.group_size, how.max_new_tokens, self.cast.seed, view), how.temperature)
        wanted = {
            "do_sample": True,
            "top_k": 0,
            "num_return_sequences": how.group_size,
            "max_new_tokens": how.max_new_tokens,
            "logits_processor": [drawn],
        }
        ids = self.student.generate(**given, **wanted)[:, given["input_ids"].shape[1] :]
        ended = torch.isin(ids, torch.tensor(end_ids(self.student))).long()
        mask = ((ended.cumsum(1) - ended) == 0).long()
        logits = self._made["student on", view] = self.whole(self.student, view, ids, mask)
        logprobs = token_logprobs(logits.detach() / how.temperature, ids) * mask
        return Rollouts(ids, mask, logprobs, how.group_size)


class Stepped(Plain):
    """The same, with the teacher's paths and the student along a response token by token, each with its key-value cache."""

    def student_along(self, name: str, view: str = "student") -> Tensor:
        return self.stepped(self.student, view, *self.response(name))

    @torch.no_grad()
    def teacher_along(self, name: str, view: str = "clean") -> Tensor:
        return self.stepped(self.cast.teacher, view, *self.response(name))

    def stepped(self, model: Any, view: str, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, T, V), each from a step of its own after the prompt was read."""
        given = self.batch[view]
        seen = given["attention_mask"]
        out = model.model(**given, position_ids=(seen.cumsum(-1) - 1).clamp(min=0), use_cache=True)
        logits = [model.lm_head(out.last_hidden_state[:, -1])]
        for place in range(ids.shape[1] - 1):
            token, where, cache = ids[:, place : place + 1], seen.sum(-1, keepdim=True), out.past_key_values
            seen = torch.cat([seen, mask[:, place : place + 1]], 1)
            out = model.model(input_ids=token, attention_mask=seen, position_ids=where, past_key_values=cache, use_cache=True)
            logits.append(model.lm_head(out.last_hidden_state[:, -1]))
        return torch.stack(logits, 1)


class TeacherStepped(Stepped):
    """Only the teacher's paths token by token; the student in one pass over the whole."""

    def student_along(self, name: str, view: str = "student") -> Tensor:
        return self.whole(self.student, view, *self.response(name))


class Unkept(Stepped):
    """Token by token without a cache: at each token every path reads audio, prompt and the tokens before it anew, as the equations say."""

    def stepped(self, model: Any, view: str, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([self.whole(model, view, ids[:, : place + 1], mask[:, : place + 1])[:, -1:] for place in range(ids.shape[1])], 1)


@dataclass(frozen=True)
class Bench:
    """What all steps are measured on; `batch` has the views of every method."""

    training: TrainingParams
    student: Any
    cast: Cast
    batch: Batch

    def of(self, method: str) -> tuple[Objective, Cast]:
        """What a method minimises, and with whom, as its section says."""
        own = run_params(self.training, method)
        return objective(self.training, method, own), replace(self.cast, rollouts=own.rollouts)


def set_up(items: int) -> Bench:
    """The trained backbone as student and as teacher, and rows from all over the curriculum."""
    training = training_params()
    family = folder_family(BACKBONE)
    student, processor = family.load(BACKBONE, torch.device("cpu"), torch.float32)
    teacher, _ = family.load(BACKBONE, torch.device("cpu"), torch.float32)
    rows = training_rows(["reference", "pseudo_gt"])
    rows = rows[:: len(rows) // items][:items]
    views = {view for name in PARAMS for view in objective(training, name, run_params(training, name)).views}
    data = Curriculum(rows, clean_waves(rows), processor, sorted(views), range(items), [False] * items, items * 8)
    batch = collate([data[position] for position in range(items)], processor.tokenizer.pad_token_id)
    variance = spread(teacher, processor, data, torch.device("cpu"))
    cast = Cast(teacher.requires_grad_(False), processor, run_params(training, "sft").rollouts, 0, variance)
    return Bench(training, student, cast, {**batch, "totals": flags([batch]), "copies": 1})


def stretched(batch: Batch, length: int) -> Batch:
    """The batch with Pseudo-GTs of `length` tokens: each over and over."""
    ids, mask = batch["pseudo_gt"], batch["pseudo_gt_mask"]
    longer = [row[:n].repeat(-(-length // n))[:length] for row, n in zip(ids, mask.sum(1).tolist(), strict=True)]
    return {**batch, "pseudo_gt": torch.stack(longer), "pseudo_gt_mask": torch.ones(len(ids), length, dtype=mask.dtype)}


def gradients(goal: Objective, passes: Passes) -> tuple[float, Tensor]:
    """Loss, and all gradients as one vector."""
    loss = goal(passes)
    weights = [weight for weight in passes.student.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return loss.item(), torch.cat(
        [(torch.zeros_like(weight) if grad is None else grad).flatten() for weight, grad in zip(weights, found, strict=True)]
    )


def compared(name: str, bench: Bench, method: str, batch: Batch, plain: type[Passes], peer: str, note: str, turns: int = TURNS) -> Row:
    """Our step and the plain one: first their agreement, then their CPU time in turns."""
    goal, cast = bench.of(method)
    (loss, gradient), (other, expected) = (gradients(goal, kind(bench.student, cast, batch)) for kind in (Passes, plain))
    apart = ((gradient - expected).norm() / expected.norm()).item()
    if not (abs(loss - other) <= 1e-4 and expected.norm() > 0 and apart <= 1e-3):
        raise AssertionError(f"{name}: losses {loss} and {other}, gradients {apart:.2g} of their size apart")
    optimiser = torch.optim.AdamW(bench.student.parameters(), lr=0.0)
    times: dict[type[Passes], list[float]] = {Passes: [], plain: []}
    for _ in range(turns):
        for kind, taken in times.items():
            start = time.process_time()
            torch.autograd.backward(goal(kind(bench.student, cast, batch)))
            torch.nn.utils.clip_grad_norm_(bench.student.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            taken.append(1000.0 * (time.process_time() - start))
    ours, theirs = median(times[Passes]), median(times[plain])
    return Row(name, "cpu ms a step", ours, peer, theirs, theirs / ours, f"{note}; loss {abs(loss - other):.1g}, gradients {apart:.1g} apart")


def rows() -> list[Row]:
    """One row a method, and CAAD along long targets against token by token."""
    torch.set_num_threads(1)
    bench, found = set_up(ITEMS), []
    for method in PARAMS:
        goal, cast = bench.of(method)
        name = "grpo_step_over_plain" if method == "grpo" else f"step_{method}_over_plain"
        note = f"{ITEMS} items" + bool(goal.sampled) * f", groups of {cast.rollouts.group_size}"
        found.append(compared(name, bench, method, bench.batch, Plain, "separate passes", note))
    bench = set_up(CAAD_ITEMS)
    batch, note = stretched(bench.batch, TARGET), f"{CAAD_ITEMS} items, targets of {TARGET} tokens"
    for suffix, plain, peer, turns in (
        ("", Stepped, "token by token", TURNS),
        ("_teacher", TeacherStepped, "teacher token by token", TURNS),
        ("_uncached", Unkept, "token by token without a cache", 3),
    ):
        found.append(compared(f"caad_sync_over_token{suffix}", bench, "caad", batch, plain, peer, note, turns))
    return found
