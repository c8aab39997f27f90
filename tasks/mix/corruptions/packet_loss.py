"""Packet loss in bursts (Gilbert 1960, Elliott 1963): 20 ms packets, concealed by silence or by the last packet that arrived."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.mix.corruptions.form import Drawn, Range, Rng, Uniform, between, pick, ramp, within

PACKET = RATE // 50
FADE_PACKETS = 3  # a repeated packet is silent after 60 ms, as in ITU-T G.711 Appendix I
JOIN_MS = 5.0
Concealment = Literal["zero", "repeat"]


class Params(Section):
    """Ranges: share of packets lost, mean length of a bad period in packets, share lost in a bad period; concealments to choose from."""

    loss: Annotated[Range, within(0, 0.5)] = (0.01, 0.2)
    burst: Annotated[Range, within(1, 50)] = (1.0, 5.0)
    density: Annotated[Range, within(0.1, 1)] = (1.0, 1.0)
    concealment: tuple[Concealment, ...] = Field(("zero", "repeat"), min_length=1)

    @model_validator(mode="after")
    def _reachable(self) -> "Params":
        if self.loss[1] > 0.5 * self.density[0]:
            raise ValueError(f"loss goes up to {self.loss[1]:g}, more than half of density ({self.density[0]:g}): bad periods would rule")
        return self


def draw(params: Params, uniform: Uniform) -> Drawn:
    """`loss`, `burst`, `density`, `concealment`."""
    return {
        "loss": between(uniform("loss"), params.loss, digits=4),
        "burst": between(uniform("burst"), params.burst, digits=2),
        "density": between(uniform("density"), params.density, digits=3),
        "concealment": pick(uniform("concealment"), params.concealment),
    }


def lost_packets(rng: Rng, packets: int, loss: float, burst: float, density: float) -> NDArray[np.bool_]:
    """(packets,) which are lost. Good and bad periods alternate; in the long run `loss / density` of the packets lie in a bad one.

    A bad period ends after each packet with probability 1 / `burst`; inside, a packet is lost with probability `density`.
    """
    in_bad = loss / density
    leave, enter = 1.0 / burst, in_bad / (burst * (1.0 - in_bad))
    move, lose = rng.random(packets + 1), rng.random(packets) < density
    bad, states = bool(move[0] < in_bad), []
    for chance in move[1:].tolist():
        states.append(bad)
        bad = chance >= leave if bad else chance < enter
    return np.array(states, dtype=bool) & lose


def apply(wave: Wave, rng: Rng, *, loss: float, burst: float, density: float, concealment: Concealment) -> Wave:
    """(frames,) as it arrives. `repeat` plays the last packet back and forth, so that it joins without a jump, and fades it out."""
    packets = -(-len(wave) // PACKET)
    lost = lost_packets(rng, packets, loss, burst, density)
    sent = np.pad(wave, (0, packets * PACKET - len(wave))).reshape(packets, PACKET)
    if concealment == "zero":
        return np.where(lost[:, None], np.float32(0.0), sent).reshape(-1)[: len(wave)]
    last = np.maximum.accumulate(np.where(lost, -1, np.arange(packets)))  # -1: nothing has arrived yet
    age = np.arange(packets) - last
    # A packet after a loss is joined to what would have been played on, which is one packet older.
    joined = np.flatnonzero(~lost[1:] & lost[:-1]) + 1
    source = last.copy()
    source[joined], age[joined] = last[joined - 1], age[joined - 1] + 1
    played = np.where((age % 2 == 1)[:, None], sent[source][:, ::-1], sent[source])
    fade = np.clip(1.0 - (age[:, None] - 1 + np.arange(PACKET) / PACKET) / FADE_PACKETS, 0.0, 1.0).astype(np.float32)
    held = np.where((source >= 0)[:, None], played * fade, np.float32(0.0))
    heard = np.where(lost[:, None], held, sent)
    join = ramp(JOIN_MS)
    heard[joined, : len(join)] = join * sent[joined, : len(join)] + (1 - join) * held[joined, : len(join)]
    return heard.reshape(-1)[: len(wave)]
