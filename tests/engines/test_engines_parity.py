"""The three engines say the same: tokens, log-probabilities, top-k tables, in float32, with vLLM in a process of its own and on a server.

Random weights make ties likely; the model's are wide (tests/teacher_side.py), and where the two best candidates of a step lie closer than
TIE, engines may part: such requests are counted, compared up to the tie, and may be no more than one in fifty.
"""

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from tasks.engines import Completion, Generator, Request

STEPS = 12
TIE = 1e-4
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def expected(generator: Generator, mixed: list[Request]) -> list[Completion]:
    return [row[0] for row in generator.generate(mixed, max_new_tokens=STEPS)]


@pytest.fixture(scope="module", params=["vllm_generator", "served_generator"])
def other(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def agreed(generator: Any, request: Request, ours: Completion, theirs: Completion) -> int:
    """Leading tokens two responses share; raises AssertionError where they part anywhere but at a tie."""
    pairs = zip(ours.token_ids, theirs.token_ids, strict=False)
    shared = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(ours.token_ids), len(theirs.token_ids)))
    if shared < max(len(ours.token_ids), len(theirs.token_ids)):
        best = generator.top_logprobs([request], [ours.token_ids], 2)[0].logprobs[shared]
        assert best[0] - best[1] < TIE, f"'{request.prompt}': {ours.token_ids} and {theirs.token_ids} part at {shared}, where nothing ties"
    return shared


def test_the_model_says_different_things(expected: list[Completion]) -> None:
    assert len({tuple(completion.token_ids) for completion in expected}) > 50
    assert {completion.finish_reason for completion in expected} >= {"length"}


def test_greedy_tokens_and_log_probabilities(generator: Generator, other: Generator, mixed: list[Request], expected: list[Completion]) -> None:
    found = [row[0] for row in other.generate(mixed, max_new_tokens=STEPS)]
    parted = 0
    for request, ours, theirs in zip(mixed, expected, found, strict=True):
        shared = agreed(generator, request, ours, theirs)
        parted += ours.token_ids != theirs.token_ids
        np.testing.assert_allclose(theirs.token_logprobs[:shared], ours.token_logprobs[:shared], atol=TOLERANCE)
        if ours.token_ids == theirs.token_ids:
            assert (theirs.text, theirs.finish_reason) == (ours.text, ours.finish_reason)
    assert parted <= len(mixed) // 50


def test_scores_and_tables(generator: Generator, other: Generator, mixed: list[Request], expected: list[Completion]) -> None:
    some = mixed[:40]
    tokens = [completion.token_ids for completion in expected[:40]]
    tokens[3] = []
    for ours, theirs in zip(generator.score(some, tokens), other.score(some, tokens), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=TOLERANCE)
    for ours, theirs in zip(generator.top_logprobs(some, tokens, 5), other.top_logprobs(some, tokens, 5), strict=True):
        assert theirs.ids.shape == theirs.logprobs.shape == ours.ids.shape
        np.testing.assert_allclose(theirs.logprobs, ours.logprobs, atol=TOLERANCE)
        np.testing.assert_allclose(np.exp(theirs.tail), np.exp(ours.tail), atol=1e-5)
        apart = np.diff(ours.logprobs, axis=1, prepend=np.inf) < -TIE
        np.testing.assert_array_equal(theirs.ids[:, 0][apart[:, 1]], ours.ids[:, 0][apart[:, 1]])
    full, theirs_full = generator.distributions(some[:6], tokens[:6]), other.distributions(some[:6], tokens[:6])
    for ours, theirs in zip(full, theirs_full, strict=True):
        assert theirs.shape == ours.shape or len(tokens[3]) == 0
        np.testing.assert_allclose(theirs.exp().numpy(), ours.exp().numpy().reshape(theirs.shape), atol=1e-5)


def test_samples_are_reproducible_and_belong_to_their_request(other: Generator, mixed: list[Request]) -> None:
    some = mixed[:12]
    first = other.generate(some, n=8, temperature=1.0, max_new_tokens=STEPS, seed=5)
    assert all(len({tuple(completion.token_ids) for completion in row}) > 2 for row in first)
    again = other.generate(some[::-1], n=8, temperature=1.0, max_new_tokens=STEPS, seed=5)[::-1]
    fewer = other.generate(some[:4], n=3, temperature=1.0, max_new_tokens=STEPS, seed=5)
    assert [[c.token_ids for c in row] for row in again] == [[c.token_ids for c in row] for row in first]
    assert [[c.token_ids for c in row] for row in fewer] == [[c.token_ids for c in row[:3]] for row in first[:4]]
    assert other.generate(some, n=8, temperature=1.0, max_new_tokens=STEPS, seed=6) != first


def test_samples_follow_the_model(generator: Generator, other: Generator, mixed: list[Request]) -> None:
    count = 2000
    request = mixed[1]
    drawn = [completion.token_ids[0] for completion in other.generate([request], n=count, temperature=1.0, max_new_tokens=1)[0]]
    expected = generator.distributions([request], [[0]])[0][0].exp().numpy()
    counted = np.bincount(drawn, minlength=len(expected)) / count
    assert np.abs(counted - expected).sum() / 2 < 3 * np.sqrt(expected * (1 - expected) / (2 * np.pi * count)).sum()


def test_offline_and_served_vllm_draw_the_same_samples(vllm_generator: Generator, served_generator: Generator, mixed: list[Request]) -> None:
    drawn = [engine.generate(mixed[:8], n=4, temperature=1.0, max_new_tokens=STEPS, seed=1) for engine in (vllm_generator, served_generator)]
    same = sum(a.token_ids == b.token_ids for ours, theirs in zip(*drawn, strict=True) for a, b in zip(ours, theirs, strict=True))
    assert same >= 31  # of 32: a draw may fall within rounding of a boundary


def test_a_schema_is_obeyed(other: Generator, mixed: list[Request]) -> None:
    schema = {
        **{"type": "object", "properties": {"think": {"type": "string", "pattern": "^[a-z ]{1,9}$"}, "answer": {"enum": ["lamp", "tree"]}}},
        **{"required": ["think", "answer"], "additionalProperties": False},
    }
    second = {"type": "object", "properties": {"heard": {"type": "boolean"}}, "required": ["heard"], "additionalProperties": False}
    schemas = [schema] * 6 + [second] * 2
    answers = other.generate(mixed[:8], n=2, temperature=1.0, max_new_tokens=80, schema=schemas)
    for row, asked in zip(answers, schemas, strict=True):
        for completion in row:
            assert completion.finish_reason == "stop"
            jsonschema.validate(json.loads(completion.text), asked)
    free = other.generate(mixed[:8], max_new_tokens=STEPS, schema=None)
    assert not any(row[0].text.startswith("{") for row in free)


def test_greedy_answers_are_given_n_times(other: Generator, mixed: list[Request]) -> None:
    row = other.generate(mixed[1:2], n=3, max_new_tokens=STEPS)[0]
    assert row == [row[0]] * 3
