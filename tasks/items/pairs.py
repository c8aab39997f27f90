"""Which items are asked of which mixture: decided by both contents, so neither order nor neighbours matter."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.common.seeds import choose_many

BACKGROUND = "background"
QUESTION = "question"  # the first part of the task of every question that a corpus asks, as in question/sound


def pair(mixtures: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]], per_mixture: int, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """(mixture_id, item_id) pairs, in the order of `mixtures`: up to `per_mixture` items each, of the given tasks.

    `question` among the tasks takes in every question of a corpus, `question/sound` and others. A mixture's
    candidates are the items of its speech clip and, where `background` is among the tasks, those of its noise clip: among several
    noises the question has several answers, and is not asked. The items that rank highest by rendezvous hashing with the mixture id
    are asked, so a new item moves only the picks it wins.
    """
    by_clip: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if item["task"].partition("/")[0] in tasks:
            by_clip[item["clip_id"]].append(item["item_id"])
    pairs = []
    for mixture in mixtures:
        noises = mixture["noise_ids"] or []
        heard = [mixture["clip_id"], *(noises if len(noises) == 1 else [])]
        candidates = [item for clip in heard for item in by_clip[clip]]
        pairs += [(mixture["mixture_id"], item) for item in choose_many(candidates, per_mixture, mixture["mixture_id"])]
    return pairs
