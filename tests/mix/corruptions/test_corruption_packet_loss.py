"""Losses come at the asked rate, in bursts of the asked length, and are concealed as asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.mix.corruptions import packet_loss
from tasks.mix.corruptions.packet_loss import PACKET, lost_packets
from tests.mix.corruptions.material import rng, speech, tone


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 0.4), st.floats(1, 8), st.floats(0.8, 1), st.integers(0, 99))
def test_packet_loss_rate_is_the_asked_one(loss: float, burst: float, density: float, seed: int) -> None:
    packets = 100_000
    share = lost_packets(rng(seed), packets, loss, burst, density).mean()
    # Correlated draws: a run of n packets counts like n / (2 burst) single ones.
    assert share == pytest.approx(loss, abs=5 * np.sqrt(loss * 2 * burst / packets))


@pytest.mark.parametrize("burst", [1.0, 3.0, 8.0])
def test_packet_loss_bursts_have_the_asked_mean_length(burst: float) -> None:
    lost = lost_packets(rng(), 200_000, 0.1, burst, 1.0).astype(int)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]])))
    assert np.mean(ends[1::2] - ends[::2]) == pytest.approx(burst, rel=0.05)


def test_packet_loss_starts_in_the_long_run_state() -> None:
    assert np.mean([lost_packets(rng(seed), 1, 0.3, 5.0, 1.0)[0] for seed in range(2000)]) == pytest.approx(0.3, abs=0.04)


def test_packet_loss_zero_silences_whole_packets_and_no_other_sample() -> None:
    wave = speech() + np.float32(1.0)
    made = packet_loss.apply(wave, rng(3), loss=0.2, burst=3.0, density=1.0, concealment="zero")
    lost = lost_packets(rng(3), len(wave) // PACKET, 0.2, 3.0, 1.0)
    assert 0 < lost.sum() < len(lost)
    blocks, sent = made.reshape(-1, PACKET), wave.reshape(-1, PACKET)
    assert not blocks[lost].any() and np.array_equal(blocks[~lost], sent[~lost])


def test_packet_loss_repeat_holds_the_last_packet_fades_and_joins_without_a_jump() -> None:
    wave = tone(487.0, 6.0)  # no whole number of periods in a packet
    drawn = {"loss": 0.2, "burst": 4.0, "density": 1.0}
    made = packet_loss.apply(wave, rng(5), concealment="repeat", **drawn)
    lost = lost_packets(rng(5), len(wave) // PACKET, 0.2, 4.0, 1.0)
    blocks, sent = made.reshape(-1, PACKET), wave.reshape(-1, PACKET)
    first = np.flatnonzero(lost[1:] & ~lost[:-1]) + 1
    assert len(first) > 5
    fade = (1 - np.arange(PACKET) / PACKET / 3).astype(np.float32)
    np.testing.assert_allclose(blocks[first], sent[first - 1][:, ::-1] * fade, atol=1e-6)
    fourth = [index for index in range(4, len(lost)) if lost[index - 3 : index + 1].all()]
    assert fourth and not blocks[fourth].any(), "silent after 60 ms"
    after_good = np.flatnonzero(~lost[1:] & ~lost[:-1]) + 1
    assert np.array_equal(blocks[after_good], sent[after_good])
    joined = np.flatnonzero(~lost[1:] & lost[:-1]) + 1
    assert np.array_equal(blocks[joined, 80:], sent[joined, 80:])
    slope = np.abs(np.diff(wave)).max()
    assert np.abs(np.diff(made)).max() < 3 * slope
    zeroed = packet_loss.apply(wave + np.float32(0.1), rng(5), concealment="zero", **drawn)
    assert np.abs(np.diff(zeroed)).max() > 3 * slope


def test_packet_loss_before_anything_arrived_is_silence() -> None:
    seed = next(seed for seed in range(99) if lost_packets(rng(seed), 150, 0.3, 3.0, 1.0)[0])
    made = packet_loss.apply(speech() + np.float32(1), rng(seed), loss=0.3, burst=3.0, density=1.0, concealment="repeat")
    assert not made[:PACKET].any()


def test_packet_loss_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(ValidationError, match="bad periods would rule"):
        packet_loss.Params(loss=(0.1, 0.3), density=(0.5, 0.8))
