"""The transformers engine: the same tokens as model.generate, whatever a request is batched with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.common.audio import RATE
from tasks.common.errors import UserError
from tasks.engines import AudioRefusedError, Completion, Request, load_generator, qwen2_audio, refusal

STEPS = 10


def flat(results: list[list[Completion]]) -> list[Completion]:
    return [completion for row in results for completion in row]


@pytest.fixture(scope="module")
def greedy(generator: Any, requests_: list[Request]) -> list[Completion]:
    return flat(generator.generate(requests_, max_new_tokens=STEPS))


def test_the_random_model_says_something(greedy: list[Completion]) -> None:
    assert len({tuple(completion.token_ids) for completion in greedy}) > 20


def test_greedy_equals_model_generate_token_for_token(generator: Any, requests_: list[Request], greedy: list[Completion]) -> None:
    placeholder = generator.model.config.audio_token_id
    for request, completion in zip(requests_, greedy, strict=True):
        text = qwen2_audio.chat_text(generator.processor, request.prompt, request.audio is not None)
        tensors = qwen2_audio.inputs(generator.processor, [text], None if request.audio is None else [request.audio], 1)
        out = generator.model.generate(**tensors, max_new_tokens=STEPS, do_sample=False, suppress_tokens=[placeholder])
        assert completion.token_ids == out[0, tensors["input_ids"].shape[1] :].tolist()


def test_an_end_token_stops_a_response(generator: Any, requests_: list[Request], greedy: list[Completion], monkeypatch: pytest.MonkeyPatch) -> None:
    end = greedy[0].token_ids[3]
    place = greedy[0].token_ids.index(end)
    monkeypatch.setattr(generator.prompts, "end_ids", [*generator.prompts.end_ids, end])
    stopped = flat(generator.generate(requests_, max_new_tokens=STEPS))
    assert stopped[0].finish_reason == "stop"
    assert stopped[0].token_ids == greedy[0].token_ids[: place + 1]
    assert stopped[0].token_logprobs == greedy[0].token_logprobs[: place + 1]
    for before, after in zip(greedy, stopped, strict=True):
        assert after.finish_reason == ("stop" if end in before.token_ids else before.finish_reason)
        assert after.token_ids == before.token_ids[: len(after.token_ids)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_company_changes_nothing(generator: Any, requests_: list[Request], temperature: float) -> None:
    whole = generator.generate(requests_, n=2, temperature=temperature, max_new_tokens=STEPS, seed=3)
    part = generator.generate(requests_[40:47][::-1], n=2, temperature=temperature, max_new_tokens=STEPS, seed=3)
    assert part[::-1] == whole[40:47]
    for request, expected in zip(requests_[:12], whole, strict=False):
        assert generator.generate([request], n=2, temperature=temperature, max_new_tokens=STEPS, seed=3) == [expected]


def test_samples_depend_on_seed_and_number(generator: Any, requests_: list[Request]) -> None:
    few = requests_[:6]
    first = generator.generate(few, n=3, temperature=1.0, max_new_tokens=STEPS, seed=1)
    assert generator.generate(few, n=3, temperature=1.0, max_new_tokens=STEPS, seed=2) != first
    assert all(len({tuple(completion.token_ids) for completion in row}) > 1 for row in first)
    assert [row[:1] for row in first] == generator.generate(few, n=1, temperature=1.0, max_new_tokens=STEPS, seed=1)


def test_samples_follow_the_model(generator: Any) -> None:
    request, count = Request("last word? options: lamp, tree"), 2000
    drawn = [completion.token_ids[0] for completion in generator.generate([request], n=count, temperature=1.0, max_new_tokens=1)[0]]
    expected = generator.distributions([request], [[0]])[0][0].exp().numpy()
    counted = np.bincount(drawn, minlength=len(expected)) / count
    # Half the L1 distance of an empirical distribution to its own is about sum(sqrt(p (1 - p) / (2 pi n))).
    assert np.abs(counted - expected).sum() / 2 < 3 * np.sqrt(expected * (1 - expected) / (2 * np.pi * count)).sum()


def test_scores_equal_the_log_probabilities_of_generation(generator: Any, requests_: list[Request], greedy: list[Completion]) -> None:
    scores = generator.score(requests_, [completion.token_ids for completion in greedy])
    for score, completion in zip(scores, greedy, strict=True):
        np.testing.assert_allclose(score, completion.token_logprobs, atol=1.5e-4)


def test_distributions_are_normalised_and_hold_the_scores(generator: Any, requests_: list[Request], greedy: list[Completion]) -> None:
    tokens = [completion.token_ids[:4] for completion in greedy]
    tokens[5] = []
    full = generator.distributions(requests_, tokens)
    assert full[5].shape[0] == 0
    assert all(torch.allclose(row.exp().sum(-1), torch.ones(len(row)), atol=1e-5) for row in full)
    for score, row, ids in zip(generator.score(requests_, tokens), full, tokens, strict=True):
        assert score.tolist() == [float(row[place, token]) for place, token in enumerate(ids)]


def test_tables_of_the_likeliest_tokens_come_from_the_distributions(generator: Any, requests_: list[Request], greedy: list[Completion]) -> None:
    tokens = [completion.token_ids[:4] for completion in greedy[:12]]
    full = generator.distributions(requests_[:12], tokens)
    for k in (1, 5, 10_000):
        for table, row in zip(generator.top_logprobs(requests_[:12], tokens, k), full, strict=True):
            kept = min(k, row.shape[1])
            assert table.ids.shape == table.logprobs.shape == (4, kept)
            assert table.logprobs.tolist() == row.topk(kept).values.tolist()
            assert table.logprobs.tolist() == row.gather(1, torch.from_numpy(table.ids)).tolist()
            np.testing.assert_allclose(np.exp(table.logprobs).sum(1) + np.exp(table.tail), 1.0, atol=1e-5)


def test_lengths_are_the_processor_s(generator: Any, requests_: list[Request]) -> None:
    for request in requests_:
        text = qwen2_audio.chat_text(generator.processor, request.prompt, request.audio is not None)
        tensors = qwen2_audio.inputs(generator.processor, [text], None if request.audio is None else [request.audio], 1)
        assert generator.prompts.lengths([request]) == [tensors["input_ids"].shape[1]]


def test_audio_is_heard(generator: Any, requests_: list[Request], greedy: list[Completion]) -> None:
    request = requests_[1]
    assert request.audio is not None
    other = generator.generate([Request(request.prompt, request.audio[::-1].copy())], max_new_tokens=STEPS)[0][0]
    assert other.token_logprobs != greedy[1].token_logprobs


@pytest.mark.parametrize(("seconds", "reason"), [(2.0, None), (2.01, "longer_than_window"), (0.05, "too_short"), (0.1, None)])
def test_what_does_not_fit_is_refused_before_generation(generator: Any, seconds: float, reason: str | None) -> None:
    audio = np.zeros(round(seconds * RATE), np.float32)
    assert refusal(audio, generator.window_s) == reason
    fits = Request("first word?", np.zeros(RATE, np.float32))
    if reason is None:
        assert len(generator.generate([fits, Request("first word?", audio)], max_new_tokens=2)) == 2
    else:
        for call in (
            lambda r: generator.generate(r, max_new_tokens=2),
            lambda r: generator.score(r, [[1]] * 2),
            lambda r: generator.distributions(r, [[1]] * 2),
        ):
            with pytest.raises(AudioRefusedError, match=reason):
                call([fits, Request("first word?", audio)])


def test_a_folder_without_a_model_is_the_user_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_generator("transformers", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="unknown model family 'bert'"):
        load_generator("transformers", tmp_path)
    with pytest.raises(UserError, match=r"unknown engine 'abacus'\. Choose: transformers, vllm, openai"):
        load_generator("abacus", tmp_path)
