"""docs/bad_input.md says what the tests check, and every test it points to is there."""

import re
from collections import Counter

from tests.promises.bad_input_page import ELSEWHERE, PAGE, page
from tests.promises.bad_names import NAMES, THINGS
from tests.promises.bad_shards import SHARDS
from tests.promises.bad_sounds import SOUNDS
from tests.promises.bad_texts import MANIFESTS, QUESTIONS, YAMLS

TESTS = PAGE.parents[1] / "tests"


def test_the_page_is_made_of_the_cases() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.promises.bad_input_page"


def test_there_are_as_many_cases_as_promised_and_each_has_its_own_line() -> None:
    cases = [*SOUNDS, *NAMES, *THINGS, *SHARDS, *MANIFESTS, *QUESTIONS, *YAMLS]
    assert len(cases) + len(ELSEWHERE) >= 60
    twice = [what for what, count in Counter(case.what for case in cases).items() if count > 1]  # type: ignore[attr-defined]
    assert twice == []


def test_the_tests_elsewhere_exist() -> None:
    for _, _, name in ELSEWHERE:
        file, _, test = name.partition("::")
        assert re.search(rf"^def {test}\(", (TESTS / file).read_text(), re.M), name


def test_every_reason_has_its_line_in_the_docs() -> None:
    docs = (PAGE.parent / "catalog.md").read_text() + (PAGE.parent / "corpora.md").read_text()
    rows = {code for line in docs.splitlines() if line.startswith("| `") for code in re.findall(r"`(\w+)`", line.split("|")[1])}
    used = {reason for case in [*SOUNDS, *NAMES, *THINGS, *SHARDS] if (reason := case.reason)}  # type: ignore[attr-defined]
    assert used | {reason for one in MANIFESTS for reason in one.refused.values()} <= rows
