"""Whether an author's reply may become a Pseudo-GT, and why not."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.items.answers import parse_answer
from tasks.items.prompt import response_text

# A reply in the wrong form may come right with another seed; one that is wrong in what it says is not asked for again until it fits.
FORM = ("not_json", "schema")
TOO_LONG = "too_long"
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|afraid|unable|not able)|i (?:can't|cannot|won't)|as an ai|(?:can't|cannot|unable to) (?:hear|listen|assist|help))\b"
)
_QUOTE = re.compile(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)")
_STRAIGHT = str.maketrans({**dict.fromkeys("“”„«»", '"'), **dict.fromkeys("‘’", "'")})
_WORD = re.compile(r"[\w'-]+")


# `finish_reason` of a reply that was never made: the prompt is longer than what the author can read.
NO_ROOM = "context_overflow"


@dataclass(frozen=True)
class Reply:
    """What an author said at one attempt (0 is the first)."""

    text: str
    finish_reason: str
    attempt: int


@dataclass(frozen=True)
class Verdict:
    """The Pseudo-GT in the form the student is trained on, or the reason for having none."""

    text: str | None = None
    answer: str | None = None
    reason: str | None = None


def reply_schema(options: list[str]) -> dict[str, Any]:
    """The JSON schema of a reply: a free thought, then one of the options (any text where there are none)."""
    answer = {"type": "string", "enum": options} if options else {"type": "string"}
    return {
        "type": "object",
        "properties": {"think": {"type": "string"}, "answer": answer},
        "required": ["answer"],
        "additionalProperties": False,
    }


def check(reply: Reply, item: Mapping[str, Any], metadata: Mapping[str, Any]) -> Verdict:
    """Judge a reply.

    Reasons: `context_overflow`, `too_long` (cut off at the author's limit), `refusal`, `not_json`, `schema`, and `contradiction`: it names
    another option than the known answer, or quotes words as heard that stand neither in the transcript nor elsewhere in what is known.
    """
    if reply.finish_reason in ("length", NO_ROOM):
        return Verdict(reason=NO_ROOM if reply.finish_reason == NO_ROOM else TOO_LONG)
    try:
        said = json.loads(reply.text)
    except ValueError:
        return Verdict(reason="refusal" if _refuses(reply.text) else "not_json")
    think, answer = (said.get("think", ""), said.get("answer")) if isinstance(said, dict) else ("", None)
    options = item["options"]
    if not (isinstance(think, str) and isinstance(answer, str) and said.keys() <= {"think", "answer"} and (answer in options or not options)):
        return Verdict(reason="schema")
    text = " ".join(response_text(think.split(), answer).split())
    if options and parse_answer(text, options) != answer:
        return Verdict(reason="schema")
    if _refuses(think):
        return Verdict(reason="refusal")
    if contradicts(think, answer, item, metadata):
        return Verdict(reason="contradiction")
    return Verdict(text, answer)


def contradicts(think: str, answer: str, item: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a reply says something else than is known."""
    if item["options"] and answer != item["answer"]:
        return True
    plain = _plain(think)
    others = "|".join(re.escape(_plain(option)) for option in item["options"] if option != item["answer"])
    if others and re.search(rf"\banswer(?: is|:)\W*(?:{others})\b", plain):
        return True
    known = [item["transcript"], item["answer"] or "", *_strings(metadata)]
    # The question of a conflict item states a wrong transcript: quoting it is the error to look for.
    known += [] if item["task"] == "conflict" else [item["question"]]
    words = set(_WORD.findall(_plain(" ".join(known))))
    quoted = " ".join(" ".join(groups) for groups in _QUOTE.findall(plain))
    return not words.issuperset(_WORD.findall(quoted))


def _plain(text: str) -> str:
    """For comparing: without case, and with straight quotation marks."""
    return text.casefold().translate(_STRAIGHT)


def _refuses(text: str) -> bool:
    """Whether a text declines to answer in its own words; what it quotes may be anything."""
    return bool(_REFUSAL.search(_QUOTE.sub(" ", _plain(text))))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value
