"""Chains of corruptions: what a curriculum file asks for, checked, and the values it draws for every mixture.

    corruptions:
      noise:   # of the mixtures of every noise clip, this share; the rest is plain noise
        - {share: 0.2, source: {noises: {count: [1, 2]}}, envelope: snr_walk, effects: [{mp3: {kbps: [16, 64]}}]}
      speech:  # of the utterances, this share is also heard so, without a noise clip
        - {share: 0.3, source: {babble: {count: [3, 8]}}}

A step is the name of a module of `tasks.mix.corruptions`, or that name with its parameters.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.common.errors import UserError
from tasks.common.params import Section, read_yaml, validate
from tasks.common.seeds import content_id
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.corruptions.form import Uniform

Drawn = dict[str, Any]  # JSON: the name of a module and the values its function takes


class _Chain(Section):
    share: float = Field(gt=0, le=1)
    source: Any = None
    envelope: Any = None
    effects: list[Any] = Field(default_factory=list)


class _Lists(Section):
    noise: list[Any] = Field(default_factory=list)
    speech: list[Any] = Field(default_factory=list)


class _File(Section):
    corruptions: _Lists


@dataclass(frozen=True)
class Step:
    """A module by name, with its parameters."""

    name: str
    params: Section


@dataclass(frozen=True)
class Chain:
    """Source, envelope and effects in order, and the share of the mixtures (or utterances) that get them."""

    share: float
    source: Step | None
    envelope: Step | None
    effects: tuple[Step, ...]

    @property
    def key(self) -> str:
        """Id of everything but the share."""
        steps = [step and [step.name, step.params.model_dump(mode="json")] for step in (self.source, self.envelope, *self.effects)]
        return content_id(steps)

    @property
    def pool(self) -> str | None:
        """Where further clips come from: "noise", "speech", or None without a source."""
        return SOURCES[self.source.name].POOL if self.source else None

    @property
    def noise_type(self) -> str | None:
        """The only type of noise the source takes; None is any."""
        return SOURCES[self.source.name].NOISE_TYPE if self.source else None

    def draw(self, uniform: Uniform, count: int) -> list[Drawn]:
        """`count` recipes' worth of `source`, `envelope` and `effects`; keys of steps that the chain lacks are absent."""
        drawn: list[Drawn] = [{} for _ in range(count)]
        for kind, modules, step in (("source", SOURCES, self.source), ("envelope", ENVELOPES, self.envelope)):
            if step:
                for row, values in zip(drawn, _values(modules, step, 0, uniform, count), strict=True):
                    row[kind] = values
        for place, step in enumerate(self.effects):
            for row, values in zip(drawn, _values(EFFECTS, step, place, uniform, count), strict=True):
                row.setdefault("effects", []).append(values)
        return drawn


def _values(modules: Mapping[str, Any], step: Step, place: int, uniform: Uniform, count: int) -> list[Drawn]:
    columns = modules[step.name].draw(step.params, lambda name: uniform(f"{step.name}/{place}/{name}"))
    return [{"name": step.name, **{name: values[row] for name, values in columns.items()}} for row in range(count)]


@dataclass(frozen=True)
class Chains:
    """Chains of mixtures that belong to a noise clip, and of those that belong to an utterance."""

    noise: tuple[Chain, ...] = ()
    speech: tuple[Chain, ...] = ()


def read_chains(path: str) -> Chains:
    """The chains of a curriculum file; raises UserError for the first mistake, naming the nearest known name."""
    lists = validate(_File, read_yaml(Path(path)), path).corruptions
    noise = tuple(_chain(value, f"{path}, corruptions.noise[{index}]") for index, value in enumerate(lists.noise))
    speech = tuple(_chain(value, f"{path}, corruptions.speech[{index}]") for index, value in enumerate(lists.speech))
    if (total := sum(chain.share for chain in noise)) > 1 + 1e-9:
        raise UserError(f"{path}, corruptions.noise", f"the shares sum to {total:g}, above 1", "Lower them; what is left is plain noise")
    for index, chain in enumerate(noise):
        if chain.pool == "speech":
            todo = "Move the chain to corruptions.speech"
            raise UserError(f"{path}, corruptions.noise[{index}]", f"source '{chain.source and chain.source.name}' is made of speech", todo)
    for index, chain in enumerate(speech):
        where = f"{path}, corruptions.speech[{index}]"
        if chain.pool == "noise":
            todo = "Move the chain to corruptions.noise"
            raise UserError(where, f"source '{chain.source and chain.source.name}' is made of noise clips", todo)
        if chain.envelope and not chain.source:
            raise UserError(where, f"envelope '{chain.envelope.name}' has nothing to shape", "Name a source, or drop the envelope")
        if chain.key in {other.key for other in speech[:index]}:
            raise UserError(where, "the same chain is listed twice", "Merge their shares")
    return Chains(noise, speech)


def _chain(value: Any, where: str) -> Chain:
    chain = validate(_Chain, value, where)
    source = _step(chain.source, SOURCES, f"{where}.source") if chain.source is not None else None
    envelope = _step(chain.envelope, ENVELOPES, f"{where}.envelope") if chain.envelope is not None else None
    effects = tuple(_step(step, EFFECTS, f"{where}.effects[{place}]") for place, step in enumerate(chain.effects))
    if not (source or envelope or effects):
        raise UserError(where, "the chain changes nothing", "Name a source, an envelope or effects, or drop the chain")
    return Chain(chain.share, source, envelope, effects)


def _step(value: Any, modules: Mapping[str, Any], where: str) -> Step:
    if isinstance(value, dict) and len(value) == 1:
        name, params = next(iter(value.items()))
    else:
        name, params = value, None
    if not isinstance(name, str):
        raise UserError(where, f"{value!r} is no step", "Write a name, or one name with its parameters: {mp3: {...}}")
    if name not in modules:
        near = difflib.get_close_matches(name, list(modules), n=1, cutoff=0.5)
        raise UserError(where, f"unknown corruption '{name}'", f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(sorted(modules))}")
    return Step(name, validate(modules[name].Params, params or {}, f"{where}.{name}"))
