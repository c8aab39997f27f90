"""The text side of X-OPD: what the teacher reads in place of the audio, and its scores of tokens the student wrote after hearing it.

Both sides get the same question: the student with the clip, the teacher with a transcript of it, through the same template.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.common.errors import UserError
from tasks.engines import Generator, Request
from tasks.items.prompt import prompt_text, text_only


def text_request(item: Mapping[str, Any], column: str = "transcript") -> Request:
    """An item as a question about text. `column` holds what was said: `transcript`, or an ASR system's for audio that has none.

    Raises UserError where the item has no transcript in that column.
    """
    said = item.get(column)
    if not said:
        raise UserError(f"item {item['item_id']}", f"no {column}, so there is no text to read", "Leave the item out, or transcribe its clip")
    return Request(text_only(said, prompt_text(item["question"], item["options"])))


def score_in_chunks(
    generator: Generator, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], max_tokens: int
) -> list[NDArray[np.float32]]:
    """Log-probabilities (T,) of given response tokens under a text-only teacher, `max_tokens` tokens of prompt and response a call.

    An engine may hold tokens x vocabulary numbers while it scores. A prompt counts as many tokens as it has bytes: no tokenizer makes more of
    it, a chat template's few aside. A request longer than `max_tokens` goes alone.
    """
    scores: list[NDArray[np.float32]] = []
    for start, end in _runs([len(request.prompt.encode()) + len(ids) for request, ids in zip(requests, token_ids, strict=True)], max_tokens):
        scores += generator.score(requests[start:end], token_ids[start:end])
    return scores


def _runs(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Bounds of consecutive runs whose sizes add up to at most `limit`, or of a single size above it."""
    start, total = 0, 0
    for place, size in enumerate(sizes):
        if place > start and total + size > limit:
            yield start, place
            start, total = place, 0
        total += size
    if sizes:
        yield start, len(sizes)
