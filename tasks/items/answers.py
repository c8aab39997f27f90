"""Which option a response chooses, and what that is worth.

Options are looked for in this order (EchoDistill, arXiv 2605.23954, public code): the whole string, after a cue word,
anywhere. A negated mention is no choice, and two options named without a cue are no choice either.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.S)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|$)", re.S)
_LABEL = re.compile(r"\(?([a-z])[).:]\s*(\S.*)")
_CUE = re.compile(r"\b(?:answer|option|choice|choose|chose|chosen|select|selected|pick|picked)\b")
_NEGATOR = r"(?:not|never|neither|nor|without|except|cannot|\w+n't|rather than|instead of)"
_NEGATED_BEFORE = re.compile(rf"\b{_NEGATOR}\s+(?:(?!but\b)[\w'-]+\s+){{0,3}}$")
_NEGATED_AFTER = re.compile(r"\s+(?:(?:is|was|are)\s+(?:not|never|wrong|incorrect|false)|isn't|wasn't|aren't)\b")
_EDGE = " \t\n.,;:!?\"'()[]*`"


@dataclass(frozen=True)
class _Mention:
    """An option named in the text: which one, where, and whether a negation takes it back."""

    option: str
    start: int
    negated: bool


def _normal(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split())


def _spoken(text: str) -> str:
    """The part of a response that counts: inside `<answer>` where there is one, else all but the thoughts."""
    text = _normal(text)
    answer = _ANSWER.search(text)
    return (answer.group(1) if answer else _THOUGHT.sub(" ", text)).strip()


def _names(options: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(names to options, letters to options). Letters are there only where options read (A), (B), .. or A., B., .."""
    normal = [_normal(option).strip(_EDGE) or _normal(option) for option in options]
    names = {name: option for name, option in zip(reversed(normal), reversed(options), strict=True) if name}
    labels = [_LABEL.fullmatch(_normal(option)) for option in options]
    letters: dict[str, str] = {}
    if [label and label.group(1) for label in labels] == list("abcdefghijklmnopqrstuvwxyz"[: len(options)]):
        for label, option in zip(labels, options, strict=True):
            if label:
                letters[label.group(1)] = option
                names.setdefault(label.group(2).strip(_EDGE) or label.group(2), option)
    return names, letters


def _mentions(text: str, names: dict[str, str], letters: dict[str, str]) -> list[_Mention]:
    """Options named in `text`, by whole words, the longest name first, so `tree house` does not name `tree`."""
    forms = {**names, **{f"({letter})": option for letter, option in letters.items()}}
    if not forms:
        return []
    longest = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    found = re.finditer(rf"(?<!\w)(?<!\w['-])(?:{longest})(?!\w|['-]\w)", text)
    return [
        _Mention(forms[match.group()], match.start(), bool(_NEGATED_BEFORE.search(text[: match.start()]) or _NEGATED_AFTER.match(text, match.end())))
        for match in found
    ]


def _after_cue(text: str, mentions: list[_Mention], letters: dict[str, str]) -> str | None:
    """The option named next after the last cue word that has one."""
    for cue in reversed(list(_CUE.finditer(text))):
        if _NEGATED_BEFORE.search(text[: cue.start()]):
            continue
        letter = re.match(r"\s*(?:is|was|:|=)?\s*:?\s*\(?([a-z])(?:[).,:;]|$)", text[cue.end() :])
        if letter and letter.group(1) in letters:
            return letters[letter.group(1)]
        following = [mention.option for mention in mentions if mention.start >= cue.end() and not mention.negated]
        if following:
            return following[0]
    return None


def parse_answer(text: str, options: Sequence[str]) -> str | None:
    """The option that `text` chooses, as it stands in `options`, or None where it chooses none or names several.

    Case is ignored and only whole words count. Letters, (A) or A., are understood where all the options carry them.
    """
    spoken = _spoken(text)
    names, letters = _names(options)
    whole = spoken.strip(_EDGE) or spoken
    if whole in names:
        return names[whole]
    if whole in letters:
        return letters[whole]
    mentions = _mentions(spoken, names, letters)
    chosen = _after_cue(spoken, mentions, letters)
    if chosen is not None:
        return chosen
    named = {mention.option for mention in mentions if not mention.negated}
    return named.pop() if len(named) == 1 else None


def task_reward(text: str, options: Sequence[str], answer: str) -> float:
    """Reward of a response, in [-1, 1]: right option +1, wrong -1.

    Where no option is named at all, the answer's phrase contained earns 1, else the share of its words present (EchoDistill's code).
    Options named without one being chosen earn 0: there the phrase rule would pay for reciting the list.
    """
    chosen = parse_answer(text, options)
    if chosen is not None:
        return 1.0 if chosen == answer else -1.0
    spoken = _spoken(text)
    if _mentions(spoken, *_names(options)):
        return 0.0
    target = _normal(answer)
    if _mentions(spoken, {target: answer}, {}):
        return 1.0
    words = set(re.findall(r"[\w'-]+", target))
    return len(words & set(re.findall(r"[\w'-]+", spoken))) / len(words) if words else 0.0
