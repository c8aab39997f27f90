"""Hypothesis strategies that spoil valid input: bytes that are flipped, cut, doubled and spliced, and structures with a wrong value somewhere."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

TOKENS = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"\\", b"\n", b"\r\n", b"\t", b",", b":", b": ", b"- ", b"#", b"{", b"}", b"[", b"]", b"|"),
    *(b"9" * 400, b"9" * 5000, b"-1", b"0", b"nan", b"1e999", b"1.2.3", b"true", b"null", b"~", b"2020-13-45", b"0x", b"1:99", b".inf", b"=", b"<<"),
    *(b"../../x", b"/etc/passwd", b"a.wav", b"b.wav", b"\\ud83d", b"\xed\xa0\xbd", b"\xc0\x80", b"&a ", b"*a", b"!!python/object:x", b"!!bool x"),
    *(b"!!set", b"!!timestamp x", b"!!int ''", b"? ", b"---\n", b"%YAML 9.9\n", b"@1-2", b"#0", b"x" * 300, b"RIFF", b"OggS", b"data", b"fmt "),
]
_SCALARS = [
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**400, -(10**30), 2**31, 2**63, 1e308, -1e-308, float("inf"), float("nan"), 0.5]),
    st.text(max_size=5),
    st.sampled_from(
        ["", " ", "a\0b", "\n", "\ud83d", "../x", "/etc", "a.wav", "(", "{x}", "{", "[a-", "9" * 400, "nan", "position", "x" * 500, "\u202e"]
    ),
]
JUNK = st.recursive(
    st.one_of(*_SCALARS), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=4
)


@st.composite
def spoilt_bytes(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds after up to four edits."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(1, 64)))
        edit = draw(st.sampled_from(["flip", "cut", "double", "insert", "replace", "end"]))
        if edit == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif edit == "cut":
            del data[at:end]
        elif edit == "double":
            data[at:at] = data[at:end]
        elif edit == "end":
            del data[at:]
        elif edit in ("insert", "replace"):
            data[at : at if edit == "insert" else end] = draw(st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8))
    return bytes(data)


@st.composite
def spoilt_value(draw: st.DrawFn, value: Any) -> Any:
    """The value with up to three of its parts replaced, dropped, renamed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        if not places:
            return draw(JUNK)
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        edit = draw(st.sampled_from(["replace", "replace", "drop", "rename", "wrap"]))
        if edit == "drop":
            del parent[key]
        elif edit == "rename" and isinstance(parent, dict):
            parent[draw(st.text(max_size=4) | st.sampled_from(["a\nb", "\ud83d"]))] = parent.pop(key)
        elif edit == "wrap":
            parent[key] = [parent[key], parent[key]]
        else:
            parent[key] = draw(JUNK)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every part."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        one = stack.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else []
        found += [(one, key) for key in keys]
        stack += [one[key] for key in keys]
    return found


def spoilt(valid: list[Any], dump: Callable[[Any], bytes]) -> st.SearchStrategy[bytes]:
    """Valid structures spoilt as values, as bytes, or both."""
    values = st.sampled_from(valid).flatmap(spoilt_value).map(dump)
    return values | spoilt_bytes([dump(one) for one in valid]) | values.flatmap(lambda data: spoilt_bytes([data]))
