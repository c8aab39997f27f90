"""The template author: transcript and answer from the metadata, in the form embedded models answer in."""

from collections.abc import Mapping
from typing import Any

from tasks.items.prompt import response_text


def stated(item: Mapping[str, Any]) -> str:
    """The response to one item. A background item belongs to a noise clip and has no transcript."""
    return in_form(item["transcript"], item["answer"])


def in_form(thought: str, answer: str) -> str:
    """`<think> w1 w2 </think><answer> x </answer>`. Without words two spaces would meet, which no model has seen."""
    return " ".join(response_text(thought.split(), answer).split())
