"""The cache of teacher distributions: its size, what it keeps, what it loses, and that nothing is computed twice."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engines import EngineError, Generator, Request, TopK, load_generator
from tasks.pseudo_gt import cache
from tasks.pseudo_gt.cache import Forced, fill, kl_of_cache, pack, read_cache, spread, top_k, unpack
from tasks.references import parts
from tests import teacher_side


def logits(tokens: int, vocabulary: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((tokens, vocabulary)) * scale)


@pytest.mark.parametrize(("k", "size"), [(5, 32), (20, 122), (50, 302)])
def test_a_token_takes_six_bytes_a_kept_one_and_two_for_the_tail(k: int, size: int) -> None:
    stored = pack(top_k(logits(10, 1000).log_softmax(-1), k))
    assert sum(map(len, stored.values())) == 10 * size


def test_ids_of_a_large_vocabulary_are_kept() -> None:
    ids = np.array([[151_935, 0]], np.int64)
    stored = unpack(pack(TopK(ids, np.log(np.array([[0.5, 0.25]], np.float32)), np.log(np.array([0.25], np.float32)))))
    assert stored.ids.tolist() == ids.tolist()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.1, 10))
def test_what_is_kept_is_right_and_the_rest_keeps_its_mass(seed: int, k: int, scale: float) -> None:
    exact = logits(3, 40, seed, scale).log_softmax(-1)
    cached = spread(unpack(pack(top_k(exact, k))), 40)
    assert torch.allclose(cached.exp().sum(-1), torch.ones(3), atol=1e-5)
    top, kept = exact.topk(k), cached.topk(k)
    assert torch.allclose(kept.values.exp().double(), top.values.exp(), atol=3e-3)
    rest = 1 - top.values.exp().sum(-1)
    assert torch.allclose(1 - kept.values.double().exp().sum(-1), rest, atol=3e-3)


def test_the_error_falls_with_k_and_vanishes_with_the_vocabulary() -> None:
    values = logits(200, 500)
    errors = [float(kl_of_cache(values, k).mean()) for k in (5, 20, 50, 500)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.1 and errors[-1] < 1e-6
    assert float(kl_of_cache(values, 20).min()) > -1e-9


def test_a_flat_tail_costs_nothing() -> None:
    flat = torch.zeros(1, 1000)
    flat[0, 7] = 5.0
    assert abs(float(kl_of_cache(flat, 1)[0])) < 1e-6


def test_against_the_sum_by_hand() -> None:
    """p = (.5, .3, .15, .05), k = 2: the others get .1 each, so KL = .15 ln 1.5 + .05 ln .5."""
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    assert float(kl_of_cache(probabilities.log(), 2)[0]) == pytest.approx(0.15 * np.log(1.5) + 0.05 * np.log(0.5), abs=1e-4)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("teacher")
    teacher_side.write_model(folder)
    return load_generator("transformers", folder)


def forced(count: int) -> list[Forced]:
    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.standard_normal(16_000)).astype(np.float32) for _ in range(count)]
    both = []
    for number, wave in enumerate(waves):
        for path, audio in (("clean", wave), ("silence", np.zeros_like(wave)), ("drop_audio", None)):
            request = Request("first word? options: lamp, tree", audio)
            both.append(Forced(f"item{number}", f"clip{number}", path, request, [270, 271, 272 + number]))  # type: ignore[arg-type]
    return both


def test_what_is_read_is_what_the_teacher_says_and_nothing_is_computed_twice(
    teacher: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHUNK", 4)
    asked = forced(3)
    assert fill(tmp_path, lambda: teacher, asked[:5], "r", 20) == 5
    assert fill(tmp_path, lambda: teacher, asked, "r", 20) == 4
    assert fill(tmp_path, lambda: teacher, asked, "r", 20) == 0
    assert fill(tmp_path, lambda: teacher, asked[:1], "s", 20) == fill(tmp_path, lambda: teacher, asked[:1], "r", 5) == 1
    read = read_cache(tmp_path)
    exact = teacher.distributions([one.request for one in asked], [one.token_ids for one in asked])
    for one, full in zip(asked, exact, strict=True):
        kept = unpack(read[one.key("r", 20)])
        assert kept.ids.shape == (3, 20) and kept.tail.shape == (3,)
        assert torch.equal(torch.from_numpy(kept.ids), full.sort(descending=True, stable=True).indices[:, :20])
        likely = full.gather(1, torch.from_numpy(kept.ids)).numpy()
        assert np.abs(kept.logprobs - likely).max() < 0.01
        assert np.abs(np.exp(kept.tail) - (1 - np.exp(likely).sum(-1))).max() < 1e-3
    heard, unheard = read[asked[0].key("r", 20)], read[asked[1].key("r", 20)]
    assert heard["logprobs"] != unheard["logprobs"], "the audio is heard"


def test_an_engine_that_fails_on_the_way_keeps_what_it_finished(teacher: Generator, tmp_path: Path) -> None:
    asked = forced(2)

    class Failing:
        def top_logprobs(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], k: int) -> list[TopK]:
            found = teacher.top_logprobs(requests, token_ids, k)
            raise EngineError("http://stand-in", {0: found[0], 2: found[2]}, {1: "HTTP 500"})

    with pytest.raises(EngineError):
        fill(tmp_path, Failing, asked, "r", 20)  # type: ignore[arg-type]
    assert read_cache(tmp_path).keys() == {asked[0].key("r", 20), asked[2].key("r", 20)}
    assert cache.fill(tmp_path, lambda: teacher, asked, "r", 20) == 4
