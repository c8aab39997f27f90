"""Questions as published, with letters, numbers or texts for answers and options in any form, as question, options, answer and task."""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from tasks.catalog.entry_keys import Questions
from tasks.catalog.found import Fields
from tasks.catalog.tables import value_at
from tasks.catalog.transcripts import fill

_LABEL = re.compile(r"\(?([A-Za-z])[).:]\s+")
_INLINE = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[).:]\s+")


# Letters of Cyrillic, Greek and Armenian that fonts draw as Latin ones (Unicode Technical Standard 39, confusables).
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝӏАВЕКМНОРСТХІЈЅοανρυχιΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսոհ",
    "aeopcyxijshdqwlABEKMHOPCTXIJSoavpuxiABEZHIKMNOPTYXounh",
)


class BadQuestionError(Exception):
    """A question that cannot be asked, and why."""


def ask(rule: Questions, row: Mapping[str, Any], names: Fields) -> list[dict[str, Any]]:
    """The questions of a row: `question`, `options` (none: distractors are drawn later), `answer` as it stands in them, `task` as published, or "".

    `names` are further values for templates. Raises BadQuestionError where one has no text, no answer, or an answer that is not among its options.
    """
    answer = _cell(row, rule.answer, names)
    options = _options(rule, row, names)
    right = _answer(answer, options) if options else _text(answer)
    task = _text(_cell(row, rule.task, names)) if rule.task else ""
    forms = rule.question if isinstance(rule.question, dict) else {"": rule.question}
    asked = []
    for name, form in forms.items():
        question = _text(_cell(row, form, names))
        if not question or not right:
            raise BadQuestionError("no question" if not question else "no answer")
        asked.append({"question": question, "options": options, "answer": right, "task": " ".join(part for part in (task, name) if part)})
    return asked


def _cell(row: Mapping[str, Any], form: str, names: Fields) -> Any:
    if "{" not in form:
        return value_at(dict(row), form)
    values = {column: _text(value_at(dict(row), column)) for column in re.findall(r"\{([^{}]+)\}", form)}
    return fill(form, {**values, **names})


def _text(value: Any) -> str:
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def _options(rule: Questions, row: Mapping[str, Any], names: Fields) -> list[str]:
    if rule.options is None:
        return []
    if isinstance(rule.options, list):
        found: Any = [value for value in (_cell(row, column, names) for column in rule.options) if _text(value)]
    else:
        found = _cell(row, rule.options, names)
    if isinstance(found, str) and rule.options_pattern:
        match = re.search(rule.options_pattern, found)
        found = match[1] if match else ""
    options = _unlabelled([_text(option) for option in split_options(found)])
    looks = [_look(option) for option in options]
    if len(options) < 2 or "" in looks:
        raise BadQuestionError(f"{len([look for look in looks if look])} options")
    if len({option.casefold() for option in options}) < len(options):
        raise BadQuestionError("the same option twice")
    if len(set(looks)) < len(looks):
        raise BadQuestionError("two options that look the same")
    return options


def _look(text: str) -> str:
    """What a reader sees of a text: without case, width, ligatures and invisible characters, and with look-alike letters as Latin ones."""
    seen = unicodedata.normalize("NFKC", text).translate(_LOOK_ALIKES).casefold()
    return "".join(char for char in seen if unicodedata.category(char) not in ("Cf", "Cc")).strip()


def split_options(value: Any) -> list[Any]:
    """Options of a list, of a mapping of letters, or of a text: JSON, one a line, labelled `(A) ..  (B) ..`, or `a, b or c`."""
    if isinstance(value, dict):
        return [value[key] for key in sorted(value) if value[key] is not None]
    if isinstance(value, list):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] in ("[", "{"):
        try:
            return split_options(json.loads(text))
        except ValueError:
            pass
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return lines
    labels = list(_INLINE.finditer(text))
    if len(labels) > 1 and labels[0].start() == 0 and _in_order([label[1] for label in labels]):
        ends = [label.start() for label in labels[1:]] + [len(text)]
        return [text[label.end() : end].strip(" ,;") for label, end in zip(labels, ends, strict=True)]
    return [part.strip(" .\"'") for part in re.split(r"\s*[,;]\s*(?:or\s+|and\s+)?|\s+or\s+", text) if part.strip(" .\"'")]


def _unlabelled(options: list[str]) -> list[str]:
    labels = [_LABEL.match(option) for option in options]
    if not _in_order([label[1] if label else "" for label in labels]):
        return options
    return [option[label.end() :] for option, label in zip(options, labels, strict=True) if label]


def _in_order(letters: list[str]) -> bool:
    return [letter.upper() for letter in letters] == [chr(ord("A") + rank) for rank in range(len(letters))]


def _answer(value: Any, options: list[str]) -> str:
    """The option that is meant by its text, else by its letter, else by its index from 0."""
    text = _text(value)
    bare = text[label.end() :] if (label := _LABEL.match(text)) else text
    for form in (text, bare):
        for option in options:
            if _look(option) == _look(form):
                return option
    letter = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", text)
    index = ord(letter[1].upper()) - ord("A") if letter else int(text) if text.isdecimal() else -1
    if not 0 <= index < len(options):
        raise BadQuestionError(f"the answer '{text}' is not among the options {', '.join(options)}")
    return options[index]
