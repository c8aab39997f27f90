"""What a page of docs/ tells people to type, and whether it exists: programs, subcommands, flags, targets, deployments, parameters, files.

A fenced ```sh block after the line `<!-- run -->` is run by test_guides_run.py in a project of small numbers; `<!-- run in a build -->` in a
built one. Every other command is checked without running it. `<name>` in a command stands for what only the reader knows.
"""

import ast
import functools
import importlib.util
import inspect
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tasks.catalog.params import Entry
from tasks.common.errors import UserError
from tasks.common.params import merge, validate

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "PLACEHOLDER"
OPERATORS = {"&&", "||", ";", "|", "&", "(", ")"}
# Programs of the system, of other projects and of the shell: known by name alone.
ELSEWHERE = {"apt", "cat", "cd", "cp", "curl", "df", "docker", "echo", "eval", "export", "git", "ls", "mkdir", "mount", "mv", "nvidia-smi"}
ELSEWHERE |= {"psql", "rm", "source", "ss", "sudo", "swift", "tail", "vllm", "while", "do", "done", "inotifywait", "sleep", "unset", "xdg-open"}
# Variables of other projects' programs.
VARIABLES = {"CUDA_VISIBLE_DEVICES", "DASK_SCHEDULER_ADDRESS", "HF_HOME", "HF_HUB_OFFLINE", "OPENAI_API_KEY", "RAY_ADDRESS", "TMPDIR", "PWD"}
OURS = ("bench", "catalogs", "docs", "flows", "profiles", "tasks", "tests")
MADE = ("data", "models", "reports", "exports", ".prefect", ".dvc", ".venv")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, text, first line, and what the comment before it says to do ("", "run" or "run in a build")."""

    page: Path
    line: int
    language: str
    text: str
    run: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    lines, marked, start = page.read_text(encoding="utf-8").splitlines(), "", None
    for number, line in enumerate(lines, 1):
        if start is None and line.startswith("```"):
            start, language = number, line.removeprefix("```").strip()
        elif start is not None and line.startswith("```"):
            found.append(Block(page, start + 1, language, "\n".join(lines[start : number - 1]), marked))
            start, marked = None, ""
        elif start is None and line.strip():
            marked = match[1] if (match := re.fullmatch(r"<!-- (run(?: in a build)?) -->", line.strip())) else ""
    return found


def without_heredocs(text: str) -> tuple[str, set[str]]:
    """The text without the bodies of its here-documents, and the files those write."""
    lines, written, end = [], set[str](), None
    for line in text.splitlines():
        if end is not None:
            end = None if line.strip() == end else end
            continue
        if match := re.search(r"<<-?\s*'?(\w+)'?", line):
            end, line = match[1], line[: match.start()] + line[match.end() :]
        written |= set(re.findall(r">>?\s*([\w./-]+)", line))
        lines.append(re.sub(r">>?\s*[\w./-]+", "", line))
    return "\n".join(lines), written


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of shell text, each as words; redirections are left out."""
    text = re.sub(r"<[^<>\n]+>", PLACEHOLDER, without_heredocs(text)[0].replace("\\\n", " "))
    for line in text.splitlines():
        lexer = shlex.shlex(re.sub(r"\$\(([^()]*)\)", PLACEHOLDER, line), posix=True, punctuation_chars="();|&")
        lexer.whitespace_split, words = True, list[str]()
        for word in (*lexer, ";"):
            if word not in OPERATORS:
                words.append(word)
            elif words:
                yield words
                words = []


def problems(words: list[str], written: Iterable[str] = ()) -> list[str]:
    """What a command names that does not exist; none where it could be run as it is."""
    found, words = [], list(words)
    while words and (match := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", words[0])):
        found += [] if known_variable(match[1]) else [f"no program reads the variable {match[1]}"]
        words.pop(0)
    if not words:
        return found
    program, rest = words[0], words[1:]
    if program == "python" and rest[:2] == ["-m", "pip"]:
        program, rest = "pip", rest[2:]
    if program == "python" and rest[:2] == ["-m", "prefect"]:
        program, rest = "prefect", rest[2:]
    if program in CHECKS:
        found += CHECKS[program](rest)
    elif (
        program not in ELSEWHERE
        and not program.startswith("/")
        and shutil.which(program, path=str(ROOT / ".venv/bin")) is None
        and shutil.which(program) is None
    ):
        found.append(f"no program {program}")
    for word in rest:
        path = f"profiles/{word.removeprefix('PROFILE=')}.yaml" if word.startswith("PROFILE=") else word.rpartition("=")[2].removeprefix("./")
        if "://" not in path and not known_path(path, written):
            found.append(f"no file {path}")
    return found


def known_variable(name: str) -> bool:
    """Whether the project or Prefect reads an environment variable."""
    return name in VARIABLES or name in prefect_variables() or re.search(rf"\b{name}\b", sources()) is not None


def known_path(path: str, written: Iterable[str] = ()) -> bool:
    """Whether a path of the project exists, is written by the page, or is what a build makes; True for what is no path of the project."""
    first = path.partition("/")[0]
    if PLACEHOLDER in path or "*" in path or "$" in path or any(path.startswith(made) for made in written):
        return True
    if first in MADE and "/" in path:
        made = any(path.startswith(out) or out.startswith(path.rstrip("/")) for out in outputs())
        return made or first.startswith(".") or f'"{path}"' in sources()
    ours = (first in OURS and "/" in path) or ("/" not in path and re.fullmatch(r"[\w-]+\.(yaml|toml|txt|md)|Makefile", path))
    return not ours or (ROOT / path).exists()


def check_make(rest: list[str]) -> list[str]:
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z]+):", makefile, re.M))
    found = []
    for word in rest:
        name, equals, _ = word.partition("=")
        if not equals:
            found += [] if name in known else [f"no target {name} in Makefile"]
        elif f"$({name})" not in makefile and not known_variable(name):
            found.append(f"make reads no variable {name}")
    return found


def check_python(rest: list[str]) -> list[str]:
    if rest[:1] == ["-c"]:
        ast.parse(rest[1])
        return []
    if rest[:1] != ["-m"] or rest[1].partition(".")[0] not in ("tasks", "flows", "bench"):
        return [] if rest[:1] == ["-m"] and importlib.util.find_spec(rest[1]) else [f"python {' '.join(rest)}: not known"]
    name, arguments = rest[1], rest[2:]
    path = ROOT / name.replace(".", "/")
    if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file():
        return [f"no module {name}"]
    files = [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else sorted(path.rglob("*.py"))
    flags = {flag for file in files for flag in re.findall(r"[\"'](--?[a-z][\w-]*)[\"']", file.read_text())}
    return [f"{name} has no {word}" for word in (word.partition("=")[0] for word in arguments) if word.startswith("-") and word not in flags]


def check_pip(rest: list[str]) -> list[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return [f"no extra {extra}" for word in rest for extra in re.findall(r"^\.\[([\w,]+)\]", word) if set(extra.split(",")) - set(extras)]


def check_dinproof(rest: list[str]) -> list[str]:
    from flows.command.cli import parser

    return parsed(lambda: parser().parse_args(rest))


def check_dvc(rest: list[str]) -> list[str]:
    from dvc.cli import DvcParserError, parse_args

    def parse() -> None:
        try:
            parse_args(rest)
        except DvcParserError:
            raise SystemExit(2) from None

    return parsed(parse)


def check_prefect(rest: list[str]) -> list[str]:
    from cyclopts import CycloptsError
    from prefect.cli._app import _app

    try:
        _app.parse_args(rest, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return [f"prefect {' '.join(rest)}: {error}"] if PLACEHOLDER not in " ".join(rest) else []
    if rest[:2] != ["deployment", "run"]:
        return []
    if rest[2] not in deployments():
        return [f"no deployment {rest[2]}"]
    names = [value.partition("=")[0] for flag, value in pairwise(rest) if flag in ("--param", "-p")]
    return [f"{rest[2]} has no parameter {name}" for name in names if name not in deployments()[rest[2]]]


CHECKS = {
    "make": check_make,
    "python": check_python,
    "pip": check_pip,
    "dinproof": check_dinproof,
    "dvc": check_dvc,
    "prefect": check_prefect,
}


def parsed(parse: Any) -> list[str]:
    """What argparse says of a command line, [] where it takes it."""
    out = StringIO()
    try:
        with redirect_stderr(out), redirect_stdout(out):
            parse()
    except SystemExit as left:
        if left.code:
            return [next((line for line in out.getvalue().splitlines() if "rror" in line), out.getvalue().strip())]
    return []


@functools.cache
def deployments() -> dict[str, set[str]]:
    """Parameters by deployment (`train/local`)."""
    found = {}
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        path, _, name = deployment["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
        found[f"{flow.name}/{deployment['name']}"] = set(inspect.signature(flow.fn).parameters)
    return found


@functools.cache
def prefect_variables() -> set[str]:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    return set(_get_settings_fields(Settings))


@functools.cache
def sources() -> str:
    """All code that may read a variable, and the Makefile."""
    files = [file for folder in ("tasks", "flows") for file in (ROOT / folder).rglob("*.py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in [*files, ROOT / "Makefile"])


@functools.cache
def outputs() -> set[str]:
    """What a build makes, as docs/architecture.md lists it."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    spans = re.findall(r"`((?:data|models|reports|exports)/[^`\s]*)`", page)
    return {path for path in (re.sub(r"[*<{].*", "", span) for span in spans) if path.partition("/")[2]} | {"models/", "exports/"}


def params() -> dict[str, Any]:
    """params.yaml as it is in the repository."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return found


def yaml_problems(text: str) -> list[str]:
    """What a block of YAML has wrong, as sections of the parameters or as an entry of the catalog."""
    value = yaml.safe_load(text)
    try:
        if isinstance(value, dict) and {"corpus", "kind"} <= value.keys():
            validate(Entry, value, "entry")
        elif isinstance(value, dict) and value.keys() <= params().keys():
            whole = merge(params(), value)
            for section in value.keys() - {"profile", "corpora"}:
                validate(section_model(section), whole[section], section)
        else:
            return [f"neither parameters nor an entry of the catalog: {', '.join(map(str, value))}"]
    except UserError as error:
        return [str(error)]
    return []


def profile_problems(text: str) -> list[str]:
    """Sections of the parameters that a profile does not name: DVC follows them all."""
    missing = params().keys() - {"profile", "corpora"} - yaml.safe_load(text).keys()
    return [f"no section {section}" for section in sorted(missing)]


def span_problems(text: str, written: Iterable[str]) -> list[str]:
    """What the code spans of a page name that does not exist: commands, parameters, files."""
    found = []
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        whole = re.sub(r"<[^<>]+>", PLACEHOLDER, span)
        if whole.split()[0] in CHECKS and " " in whole and "…" not in whole:
            found += [problem for words in commands(whole) for problem in problems(words, written)]
        elif re.fullmatch(r"[a-z_]+(\.[a-z_]+)+(: .*)?", whole) and whole.partition(".")[0] in params():
            found += [] if known_parameter(whole.partition(":")[0]) else [f"no parameter {span}"]
        elif " " not in whole and not known_path(whole, written):
            found.append(f"no file {span}")
    return found


def known_parameter(name: str) -> bool:
    """Whether a dotted name is a key of params.yaml, or one of a section's model that params.yaml leaves out."""
    value: Any = params()
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            section, _, key = name.partition(".")
            return key in {field.alias or field_name for field_name, field in section_model(section).model_fields.items()}
        value = value[part]
    return True


def section_model(section: str) -> Any:
    """`tasks.mix.params.MixParams` of `mix`."""
    name = "".join(part.capitalize() for part in section.split("_")) + "Params"
    return getattr(importlib.import_module(f"tasks.{section}.params"), name)


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


def link_problems(page: Path) -> list[str]:
    """Relative links that lead nowhere."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            found.append(f"no page {target}")
        elif anchor and anchor not in anchors(file):
            found.append(f"no heading {target}")
    return found
