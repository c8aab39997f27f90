"""The template author: transcript and answer from the metadata, in the form embedded models answer in."""

from collections.abc import Mapping
from typing import Any

from tasks.common.seeds import rng_of
from tasks.items.prompt import response_text


def is_corrupted(item: Mapping[str, Any], share: float) -> bool:
    """Whether this item is among the `share` that gets a wrong answer; a larger share only adds items. One option leaves no wrong one."""
    return len(item["options"]) > 1 and bool(rng_of("pseudo_gt", "corrupt", item["item_id"]).random() < share)


def write(item: Mapping[str, Any], share: float) -> tuple[str, bool]:
    """(response, whether its answer is wrong on purpose) of one item.

    A planted error is another option, drawn by the item; the transcript stays right, so the error is in the answer alone. Background items
    belong to a noise clip and have no transcript.
    """
    corrupted = is_corrupted(item, share)
    answer = item["answer"]
    if corrupted:
        wrong = sorted(option for option in item["options"] if option != answer)
        answer = wrong[rng_of("pseudo_gt", "wrong", item["item_id"]).integers(len(wrong))]
    # Without words two spaces would meet, which no model has seen.
    return " ".join(response_text(item["transcript"].split(), answer).split()), corrupted
