"""Scores, top-k tables and distributions out of one thing: the likeliest tokens at each place of a given response."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.engines.base import Request, TopK
from tasks.engines.prompts import Prompts

# (ids, logprobs), each (T, 1 + k): the given token in front, then the k likeliest in order.
Scores = tuple[NDArray[np.int64], NDArray[np.float32]]


class Scorer(ABC):
    """The scoring half of a Generator, for engines that report the likeliest tokens only."""

    prompts: Prompts

    @abstractmethod
    def scores(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], k: int) -> list[Scores]:
        """The given token and the `k` likeliest, at each place of each response."""

    def score(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        return [logprobs[:, 0] for _, logprobs in self.scores(requests, token_ids, 0)]

    def top_logprobs(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]], k: int) -> list[TopK]:
        kept = min(k, self.prompts.vocabulary)
        return [top_k(ids[:, 1:], logprobs[:, 1:], self.prompts.vocabulary) for ids, logprobs in self.scores(requests, token_ids, kept)]

    def distributions(self, requests: Sequence[Request], token_ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """The table of the whole vocabulary, which comes as numbers one by one: for small vocabularies; `top_logprobs` for others."""
        tables = []
        for ids, logprobs in self.scores(requests, token_ids, self.prompts.vocabulary):
            table = np.full((len(ids), self.prompts.vocabulary), -np.inf, np.float32)
            np.put_along_axis(table, ids[:, 1:], logprobs[:, 1:], axis=1)
            tables.append(torch.from_numpy(table))
        return tables


def top_k(ids: NDArray[np.int64], logprobs: NDArray[np.float32], vocabulary: int) -> TopK:
    """A table with its tail, log(1 - sum p). A tail below 1e-7, the resolution of float32 probabilities, is given as log 1e-7."""
    if ids.shape[1] >= vocabulary:
        return TopK(ids, logprobs, np.full(len(ids), -np.inf, np.float32))
    rest = 1.0 - np.exp(logprobs.astype(np.float64)).sum(axis=1)
    return TopK(ids, logprobs, np.log(np.maximum(rest, 1e-7)).astype(np.float32))
