"""YAML that cannot eat the machine: how deep a document is and how much its aliases stand for is counted before anything is built of it."""

from dataclasses import dataclass, field
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
MOST_VALUES = 1_000_000  # aliases counted as often as they are used; the largest file of a build, dvc.lock, has some thousands
DEEPEST = 64


@dataclass
class _Open:
    """A mapping or sequence that has not ended: values so far, and of a mapping its keys and whether one comes next."""

    anchor: str | None
    mapping: bool
    values: int = 1
    keys: set[str] = field(default_factory=set)
    key_next: bool = True


def load(text: str) -> Any:
    """The one document of `text`; raises yaml.YAMLError, ValueError among others where a tag does not fit its value.

    A document that is too deep or too large, that holds itself, or that names a key twice is a yaml.MarkedYAMLError too.
    """
    check(text)
    return yaml.load(text, Loader=LOADER)


def check(text: str) -> None:
    """Raises yaml.YAMLError for a document that `load` would not build."""
    anchors: dict[str, int] = {}
    levels = [_Open(None, False)]
    for event in yaml.parse(text, Loader=LOADER):
        values = 0
        if isinstance(event, yaml.CollectionStartEvent):
            levels.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(levels) > DEEPEST:
                raise _fault(f"nested more than {DEEPEST} deep", event)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            ended = levels.pop()
            anchor, values = ended.anchor, ended.values
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {level.anchor for level in levels}:
                raise _fault(f"'{event.anchor}' holds itself", event)
            anchor, values = None, anchors.get(event.anchor or "", 0)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, values = event.anchor, 1
            _note_key(levels[-1], event)
        else:
            continue
        if anchor is not None:
            anchors[anchor] = values
        inside = levels[-1]
        inside.values += values
        inside.key_next = not inside.key_next
        if inside.values > MOST_VALUES:
            raise _fault(f"stands for more than {MOST_VALUES} values", event)


def _note_key(inside: _Open, event: yaml.ScalarEvent) -> None:
    if inside.mapping and inside.key_next:
        if event.value in inside.keys:
            raise _fault(f"key '{event.value}' stands twice", event)
        inside.keys.add(event.value)


def _fault(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
