"""The processor's log-mel features for a whole batch at once, and what is done to them so that a few voices teach many.

Augmentation follows SpecAugment (arXiv 1904.08779); the random equaliser and the tempo stand in for microphones and talkers.
"""

import numpy as np
import torch
from numpy.random import Generator
from transformers import WhisperFeatureExtractor

from tasks.backbone.params import AugmentParams

EQ_PERIODS = np.array([0.5, 1.0, 2.0, 3.0])  # of the equaliser's cosines over the mel axis: broad strokes, no notches


class LogMel:
    """`WhisperFeatureExtractor` on a batch of padded waveforms: equal to it within 1e-4, and faster."""

    def __init__(self, extractor: WhisperFeatureExtractor) -> None:
        self.n_fft, self.hop, self.n_samples = extractor.n_fft, extractor.hop_length, extractor.n_samples
        self.filters = torch.from_numpy(extractor.mel_filters).float().T.contiguous()
        self.window = torch.hann_window(self.n_fft)

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        """(batch, n_samples), zero-padded, to (batch, mel bins, frames)."""
        spectrum = torch.stft(waves, self.n_fft, self.hop, window=self.window, return_complex=True)
        power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
        log = torch.matmul(self.filters, power).clamp(min=1e-10).log10()
        return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def stretch(mel: torch.Tensor, factors: np.ndarray) -> torch.Tensor:
    """(batch, bins, frames) with row b `factors[b]` times as long, linearly interpolated and cut at the window."""
    bins, frames = mel.shape[1:]
    places = (torch.arange(frames)[None, :] / torch.from_numpy(factors.astype(np.float32))[:, None]).clamp(max=frames - 1.001)
    left = places.long()
    share = (places - left)[:, None, :]
    before = torch.gather(mel, 2, left[:, None, :].expand(-1, bins, -1))
    after = torch.gather(mel, 2, (left + 1)[:, None, :].expand(-1, bins, -1))
    return before * (1 - share) + after * share


def augment(mel: torch.Tensor, rng: Generator, params: AugmentParams) -> torch.Tensor:
    """(batch, bins, frames) through a random equaliser and masks, a draw of its own for every row."""
    batch, bins, frames = mel.shape
    axis = np.linspace(0.0, 1.0, bins)
    weights, phases = rng.standard_normal((2, batch, len(EQ_PERIODS), 1))
    curve = (weights * np.cos(2 * np.pi * (EQ_PERIODS[:, None] * axis + phases))).sum(axis=1)
    mel = mel + torch.from_numpy((params.equaliser * curve).astype(np.float32))[:, :, None]
    keep = np.ones((batch, bins, frames), dtype=bool)
    for row in keep:
        for _ in range(params.frequency_masks):
            width = int(rng.integers(params.frequency_mask_bins + 1))
            start = int(rng.integers(bins - width))
            row[start : start + width] = False
        width = int(rng.integers(params.time_mask_frames + 1))
        start = int(rng.integers(frames - width))
        row[:, start : start + width] = False
    return torch.where(torch.from_numpy(keep), mel, mel.mean((1, 2), keepdim=True))
