"""The text side of X-OPD: the prompt that stands in for the audio, and scoring it in chunks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.common.errors import UserError
from tasks.engines import Request, load_generator
from tasks.references.text_side import score_in_chunks, text_request
from tests import teacher_side

ITEM: dict[str, Any] = {"item_id": "a", "question": "first word?", "options": ["lamp", "tree"], "transcript": "lamp tree", "asr": "lamb tree"}


def test_the_transcript_stands_in_for_the_audio() -> None:
    assert text_request(ITEM) == Request("transcript: lamp tree. first word? options: lamp, tree", None)
    assert text_request(ITEM, "asr").prompt.startswith("transcript: lamb tree. ")


@pytest.mark.parametrize("item", [{**ITEM, "transcript": ""}, {**ITEM, "transcript": None}, {"item_id": "a"}])
def test_without_a_transcript_the_item_is_named(item: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="item a: no transcript, so there is no text to read"):
        text_request(item)


def test_chunks_give_the_scores_of_one_call(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("model")
    teacher_side.write_model(folder)
    generator = load_generator("transformers", folder)
    rng = np.random.default_rng(0)
    requests = [text_request(ITEM | {"transcript": " ".join(rng.choice(teacher_side.WORDS, 1 + number % 5))}) for number in range(40)]
    token_ids = [rng.integers(0, 280, 1 + number % 7).tolist() for number in range(40)]
    whole = generator.score(requests, token_ids)
    for max_tokens in (1, 200, 1000):
        chunked = score_in_chunks(generator, requests, token_ids, max_tokens)
        assert [len(scores) for scores in chunked] == [len(ids) for ids in token_ids]
        assert all(np.array_equal(one, other) for one, other in zip(chunked, whole, strict=True))


class Counting:
    """Notes how much it is asked at once."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def score(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        self.calls.append([len(request.prompt.encode()) + len(ids) for request, ids in zip(requests, token_ids, strict=True)])
        return [np.array(ids, np.float32) for ids in token_ids]


@given(st.lists(st.tuples(st.text(max_size=12), st.lists(st.integers(0, 99), max_size=12)), max_size=30), st.integers(1, 60))
def test_no_call_is_larger_than_asked_and_nothing_is_lost(pairs: list[tuple[str, list[int]]], max_tokens: int) -> None:
    counting = Counting()
    scores = score_in_chunks(counting, [Request(text) for text, _ in pairs], [ids for _, ids in pairs], max_tokens)  # type: ignore[arg-type]
    assert [list(found) for found in scores] == [ids for _, ids in pairs]
    assert all(sum(call) <= max_tokens or len(call) == 1 for call in counting.calls)
    neighbours = zip(counting.calls, counting.calls[1:], strict=False)
    assert all(sum(call) + following[0] > max_tokens for call, following in neighbours), "no call could have taken the next request"
