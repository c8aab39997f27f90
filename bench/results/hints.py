"""The world of CAAD's conditions: questions behind hints of what is said, a start that believes them, and labels whose author was fooled by some.

After MCR-BENCH, a question stands in four ways: alone (`neutral`), behind the right transcript (`faithful`), behind a transcript that is
wrong exactly where it asks (`adversarial`), or behind a note of words that are neither said nor among the options (`irrelevant`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from bench.results import worlds
from bench.results.worlds import World, made_once
from tasks.backbone.lessons import END_OF_TURN
from tasks.common.audio import Wave
from tasks.common.seeds import choose_many, content_id, rng_of
from tasks.engines import Request, model_revision, qwen2_audio
from tasks.items.build import number_word
from tasks.items.prompt import response_text, text_only
from tasks.training.adapters import write_model
from tasks.training.data import Curriculum, Row, collate
from tasks.training.objectives import cross_entropy
from tasks.training.params import RolloutParams
from tasks.training.passes import Cast, Passes

HINTS = ("neutral", "faithful", "adversarial", "irrelevant")
TASKS = ("first", "last", "count")  # those that a conflict item asks; guessing yes or no would be right half of the time
WRONG = 0.15  # share of all Pseudo-GTs that hold an error: the hint's, which is then six in ten of the adversarial ones, or one of their own
QUESTIONS = 300  # held-out rows of a split, each asked in all ways
# The start is the backbone after 250 steps (20 CPU s; its loss was flat from 200 on) of clean clips with true labels. A transcript is always
# right, and the sound behind one in ten is another clip's, so the text wins: its Shift is that of the paper's distilled student, 90 to 100.
# Without such clips it is near 0, with 20 % the teacher's z+ holds no trace of the sound. Each question is learnt without sound as well, by a
# tenth of the weight, which is what z- is given.
STEPS, BATCH, LEARNING_RATE, ANOTHERS, UNHEARD = 250, 16, 1.0e-3, 0.1, 0.1
SHOWN = ("neutral", "faithful", "faithful", "irrelevant")


def hinting(world: World, cache: Path) -> World:
    """The world whose Pseudo-GTs share the adversarial hint's error in WRONG of all items."""
    return _world(world, cache, shared=True)


def independent(world: World, cache: Path) -> World:
    """The same with as many errors that have nothing to do with the hint."""
    return _world(world, cache, shared=False)


def _world(world: World, cache: Path, shared: bool) -> World:
    vocabulary = sorted({word for row in world.rows for word in (row["transcript"] or "").split()})
    start = trusting(world, vocabulary, cache)
    tokenizer = AutoTokenizer.from_pretrained(start, trust_remote_code=False)
    rows = []
    for row in (row for row in world.rows if row["task"] in TASKS and row["reference_token_ids"]):
        rng = rng_of("hints", "kind", row["mixture_id"], row["item_id"])
        kind = HINTS[rng.integers(len(HINTS))]
        wrong = kind == "adversarial" and rng.random() < WRONG * len(HINTS) if shared else rng.random() < WRONG
        row = {**row, "prompt": hinted(row, kind, vocabulary)}
        if wrong:
            error = misheard(row, vocabulary) if shared else misheard(row, vocabulary, "label")
            row["pseudo_gt_token_ids"] = labels(row, error, tokenizer)
        rows.append(row)
    held_out = {split: few([row for row in asked if row["task"] in TASKS]) for split, asked in world.held_out.items()}
    ways = {f"{kind} {heard}": way(heard, kind, vocabulary) for heard in ("clean", "noisy") for kind in HINTS}
    return replace(world, name=f"{world.name}, hints", rows=rows, held_out=held_out, backbone=start, teacher=start, ways=ways)


def misheard(row: Row, vocabulary: Sequence[str], *draw: str) -> list[str]:
    """The transcript with one error, exactly where the question asks, that makes another of its options right."""
    words, rng = row["transcript"].split(), rng_of("hints", "misheard", row["item_id"], *draw)
    if row["task"] == "count":
        told = rng.choice([number for number in (len(words) - 1, len(words) + 1) if number_word(number) in row["options"]])
        place, added = int(rng.integers(len(words))), str(rng.choice([word for word in vocabulary if word not in words]))
        return [*words[:place], *words[place + 1 :]] if told < len(words) else [*words[:place], added, *words[place:]]
    others = [option for option in row["options"] if option != row["answer"]]
    lie = str(rng.choice([option for option in others if option not in words] or others))
    return [lie, *words[1:]] if row["task"] == "first" else [*words[:-1], lie]


def hinted(row: Row, kind: str, vocabulary: Sequence[str]) -> str:
    """The row's prompt behind a hint of that kind."""
    prompt = str(row["prompt"])
    if kind == "neutral":
        return prompt
    if kind == "irrelevant":
        away = [word for word in vocabulary if word not in [*row["transcript"].split(), *row["options"]]]
        return f"note: {' '.join(rng_of('hints', 'note', row['item_id']).choice(away, 2, replace=False))}. {prompt}"
    return text_only(row["transcript"] if kind == "faithful" else " ".join(misheard(row, vocabulary)), prompt)


def labels(row: Row, words: Sequence[str], tokenizer: Any) -> list[int]:
    """The response of an author who believes that `words` are said, as token ids with the end of the turn."""
    answer = {"first": words[0], "last": words[-1], "count": number_word(len(words))}[row["task"]]
    ids: list[int] = tokenizer(response_text(words, answer) + END_OF_TURN)["input_ids"]
    return ids


def few(rows: Sequence[Row]) -> list[Row]:
    """QUESTIONS of the rows, in their order."""
    kept = set(choose_many([row["mixture_id"] + row["item_id"] for row in rows], QUESTIONS, "hints"))
    return [row for row in rows if row["mixture_id"] + row["item_id"] in kept]


def way(heard: str, kind: str, vocabulary: Sequence[str]) -> Callable[[Row, dict[str, Wave]], Request | None]:
    """How a held-out row is put to a model behind a hint of that kind."""
    put = {"clean": worlds.clean, "noisy": worlds.noisy}[heard]
    return lambda row, waves: put({**row, "prompt": hinted(row, kind, vocabulary)}, waves)


def trusting(world: World, vocabulary: Sequence[str], cache: Path) -> Path:
    """The start, which believes what it reads; kept in `cache` by content."""
    heard = [row for row in world.rows if row["reference_token_ids"] and row["task"] != "conflict"]
    clips = sorted({row["clip_id"] for row in heard})
    rows = []
    for row in heard:
        rng = rng_of("hints", "trust", row["mixture_id"], row["item_id"])
        kind, other = SHOWN[rng.integers(len(SHOWN))], clips[rng.integers(len(clips))]
        clip = other if kind == "faithful" and rng.random() < ANOTHERS else row["clip_id"]
        rows.append({**row, "prompt": hinted(row, kind, vocabulary), "clip_id": clip})
    told = [[row["mixture_id"], row["item_id"], row["prompt"], row["clip_id"], row["pseudo_gt_token_ids"]] for row in rows]
    known = [model_revision(world.backbone), told, STEPS, BATCH, LEARNING_RATE, UNHEARD]
    return made_once(cache / f"trusting-{content_id(known)}", lambda folder: convince(world, rows, folder))


def convince(world: World, rows: Sequence[Row], folder: Path) -> None:
    """Train the world's backbone on clean rows, with and without their sound, into `folder`."""
    torch.set_num_threads(1)
    model, processor = qwen2_audio.load(world.backbone, torch.device("cpu"), torch.float32)
    order = rng_of("hints", "order").integers(len(rows), size=STEPS * BATCH).tolist()
    data = Curriculum(rows, world.waves, processor, ("drop_audio",), order, [True] * len(order), len(rows))
    cast = Cast(model, processor, RolloutParams(group_size=2, temperature=1.0, max_new_tokens=1), 0)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, STEPS)
    for first in range(0, len(order), BATCH):
        batch = collate([data[place] for place in range(first, first + BATCH)], processor.tokenizer.pad_token_id)
        passes = Passes(model, cast, batch)
        ids, mask = passes.response("pseudo_gt")
        heard, unheard = (cross_entropy(passes.student_along("pseudo_gt", view), ids, mask).mean() for view in ("student", "drop_audio"))
        (heard + UNHEARD * unheard).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        falling.step()
    folder.rmdir()
    write_model(model, world.backbone, folder)
