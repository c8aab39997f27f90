"""Errors planted on purpose, so that a method can be studied under imperfect Pseudo-GTs."""

import re
from collections.abc import Mapping
from typing import Any

from tasks.common.seeds import rng_of
from tasks.pseudo_gt.template import in_form

_THOUGHT = re.compile(r"<think>(.*?)</think>", re.S)


def is_corrupted(item: Mapping[str, Any], share: float) -> bool:
    """Whether this item is among the `share` that gets a wrong answer; a larger share only adds items. One option leaves no wrong one."""
    return len(item["options"]) > 1 and bool(rng_of("pseudo_gt", "corrupt", item["item_id"]).random() < share)


def planted(item: Mapping[str, Any], text: str) -> str:
    """The response with another option than the right one as its answer, drawn by the item; what it says it heard stays as it is."""
    wrong = sorted(option for option in item["options"] if option != item["answer"])
    answer = wrong[rng_of("pseudo_gt", "wrong", item["item_id"]).integers(len(wrong))]
    thought = _THOUGHT.search(text)
    return in_form(thought.group(1) if thought else "", answer)
