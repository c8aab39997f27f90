"""Every command, flag, target, deployment, parameter, file and link that the guides name exists; every message they explain is one that is said."""

import ast
import functools
import re
import sysconfig
from pathlib import Path

import guide_commands as guides
import pytest

PAGES = sorted((guides.ROOT / "docs/guides").glob("*.md"))
SHELL = [
    guides.ROOT / page
    for page in ("README.md", *(f"docs/{name}.md" for name in ("command", "export", "gpu", "orchestration", "retraining", "training")))
]
WILD = "…"


def written_by(page: Path) -> set[str]:
    return {path for block in guides.blocks(page) for path in guides.without_heredocs(block.text)[1]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_everything_a_guide_names_exists(page: Path) -> None:
    found, written = [], written_by(page)
    for block in guides.blocks(page):
        assert not block.run or block.language == "sh", f"line {block.line}: only sh is run"
        if block.language in ("sh", "bash"):
            found += [f"line {block.line}: {problem}" for words in guides.commands(block.text) for problem in guides.problems(words, written)]
        for name, text in heredocs(block.text):
            if name.endswith(".yaml"):
                found += [f"{name}: {problem}" for problem in guides.yaml_problems(text)]
            if name.startswith("profiles/"):
                found += [f"{name}: {problem}" for problem in guides.profile_problems(text)]
        if block.language == "yaml":
            found += [f"line {block.line}: {problem}" for problem in guides.yaml_problems(block.text)]
    found += guides.span_problems(page.read_text(encoding="utf-8"), written) + guides.link_problems(page)
    assert not found


@pytest.mark.parametrize("page", SHELL, ids=lambda page: page.stem)
def test_the_commands_of_the_other_pages_exist(page: Path) -> None:
    """Of blocks that are indented, or fenced as sh or bash, every line that begins with one of the programs that are checked."""
    text = page.read_text(encoding="utf-8")
    lines = [block.text for block in guides.blocks(page) if block.language in ("sh", "bash")]
    lines += re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    known = [words for line in lines if WILD not in line and " | " not in line for words in guides.commands(line) if words[0] in guides.CHECKS]
    assert known or not lines
    assert not [problem for words in known for problem in guides.problems(words)]


def heredocs(text: str) -> list[tuple[str, str]]:
    """Name and text of the files that a block writes."""
    return re.findall(r"^cat > (\S+) <<'(?:\w+)'\n(.*?)\n\w+$", text, re.M | re.S)


def test_every_guide_is_reached_from_the_first() -> None:
    first = (guides.ROOT / "docs/guides/first-build.md").read_text(encoding="utf-8")
    assert all(page.name in first for page in PAGES if page.stem != "first-build")


@pytest.mark.parametrize(
    "wrong",
    [
        "make curiculum",
        "make curriculum PROFIL=recorded",
        "make curriculum PROFILE=recordet",
        "WORKRES=2 make curriculum",
        "dinproof listen --opne x",
        "dinproof catalogue check",
        "dvc reprod",
        "dvc repro --forced",
        "prefect deployment run build-curriculum/locale",
        "prefect deployment run train/local --param method=caad",
        "prefect worker start --pol gpu",
        "python -m tasks.evaluation",
        "python -m flows.retrain --dryrun",
        "python -m bench.gpu --small",
        "python -m pip install --editable '.[rays]'",
        "cp catalogs/speech/digit.yaml catalogs/speech/mine.yaml",
        "dvc repro && makee curriculum",
        "ls data/catalogue/speech.parquet",
    ],
)
def test_a_misspelling_is_found(wrong: str) -> None:
    assert [problem for words in guides.commands(wrong) for problem in guides.problems(words)]


def test_wrong_parameters_and_entries_are_found() -> None:
    assert guides.yaml_problems("training: {common: {learning_rates: 1.0e-4}}")
    assert guides.yaml_problems("trainings: {}")
    assert guides.yaml_problems("corpus: a\nkind: speech\nlayout: folder\nroots: a")
    assert guides.span_problems("`mix.per_noises`", []) and not guides.span_problems("`mix.per_noise`", [])


def messages() -> list[tuple[str, str]]:
    """The messages of the page on trouble, and where each comes from: "" for the project, a file of a package, or "of the system"."""
    page = (guides.ROOT / "docs/guides/troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^### `(.+)`\n(?:<!-- (?:in )?(.+) -->\n)?", page, re.M)


def texts(source: str) -> list[str]:
    """The texts a module says, with WILD where something is put in."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else WILD for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@functools.cache
def said() -> str:
    """All that the project says, and the Makefile."""
    files = [file for folder in ("tasks", "flows") for file in (guides.ROOT / folder).rglob("*.py")]
    return "\n".join([(guides.ROOT / "Makefile").read_text(), *(text for file in files for text in texts(file.read_text(encoding="utf-8")))])


def is_said(message: str, text: str) -> bool:
    """Whether the parts of a message stand in this order on one line of what is said."""
    first, *rest = [part.strip() for part in message.split(WILD) if part.strip()]
    lines = [line.partition(first)[2] for line in text.splitlines() if first in line]
    return any(re.search(".*".join(map(re.escape, rest)), line) for line in lines)


def test_every_message_of_the_page_on_trouble_is_one_that_is_said() -> None:
    found, elsewhere = messages(), []
    assert len(found) > 30
    for message, source in found:
        if source == "of the system":
            elsewhere.append(message)
            continue
        file = Path(sysconfig.get_path("purelib"), source)
        if source and not file.is_file():
            assert source.startswith("vllm/"), f"{source} is not installed"  # which `make test` alone installs
            continue
        assert is_said(message, "\n".join(texts(file.read_text(encoding="utf-8"))) if source else said()), message
    assert elsewhere == ["database is locked", "CUDA out of memory"]
    assert not is_said("no flie below … matches '…'", said())
