"""Parameters: `params.yaml` holds every number, `profiles/<profile>.yaml` says what a profile changes.

    python -m tasks.common.params                                    # check and print the parameters in force
    python -m tasks.common.params --profile recorded --corpora DIR   # switch: rewrites two lines of params.yaml

A stage declares its section as a `Section` (strict: an unknown key is an error that names the nearest known one) and
reads it with `load`. DVC tracks the same keys of the same two files, so what a stage reads is what makes it stale.
"""

import argparse
import difflib
import functools
import importlib
import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.common import bounded_yaml
from tasks.common.errors import UserError
from tasks.common.tables import write_text

PARAMS = Path("params.yaml")
PROFILES = Path("profiles")
EMBEDDED_CORPORA = "data/corpora"
_SHOWN = reprlib.Repr()  # a mistake may be a hundred lines long
_SHOWN.maxstring = _SHOWN.maxother = 200


class Section(BaseModel):
    """One section of params.yaml or one catalog entry: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=BaseModel)


def validate(model: type[S], value: Any, where: str) -> S:
    """`value` as `model`; raises UserError naming the key, the value and the rule, with the nearest known key."""
    if not isinstance(value, dict):
        raise UserError(where, f"expected a mapping of keys, found {type(value).__name__}", "See the docs page of this stage")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # A misspelt key also shows as a missing one: name the misspelling.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
            todo = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known) or 'see the docs page of this stage'}"
            raise UserError(where, f"unknown key '{key}'", todo) from None
        if first["type"] == "missing":
            raise UserError(where, f"key '{key}' is missing", "Add it; the entries beside it show the form") from None
        message = first["msg"].removeprefix("Value error, ")
        if not key:
            raise UserError(where, message, "Correct the file") from None
        # A whole section would not say which value, and may hold a password.
        value = "" if isinstance(first["input"], dict) else f" is {_SHOWN.repr(first['input'])}"
        raise UserError(where, f"'{key}'{value}: {message}", "Correct the value") from None


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Keys of the section that `path` leads to."""
    for part in path:
        inner = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def read_yaml(path: Path) -> Any:
    """A YAML file through the safe loader; raises UserError with the line and what is wrong there."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise UserError(str(path), "not a regular file", "Put a YAML file there")
        return bounded_yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(path), "no such file", "Check the name, and run from the project's root") from None
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}", "Check the name and who may read it") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UserError(str(path), f"not valid YAML{line}" + (f": {problem}" if problem else ""), "Correct the file") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # what the loader raises for 2020-13-45, or !!bool maybe
        raise UserError(str(path), f"a value that YAML cannot read ({type(error).__name__}: {str(error)[:80]})", "Quote or correct it") from None


def merge(base: Any, over: Any) -> Any:
    """`over` laid on `base`: mappings merge key by key, anything else replaces."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in over.items()}}
    return over if over is not None else base


def all_params() -> dict[str, Any]:
    """params.yaml with the overlay of its profile; raises UserError for an unknown profile."""
    params = _mapping(PARAMS)
    for key in ("profile", "corpora"):
        if not isinstance(params.get(key), str):
            raise UserError(str(PARAMS), f"key '{key}' is {'no text' if key in params else 'missing'}", "Restore it from git")
    profile = params["profile"]
    path = PROFILES / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in PROFILES.glob("*.yaml")))
        raise UserError(str(PARAMS), f"unknown profile '{profile}'", f"Choose one of: {known}")
    merged: dict[str, Any] = merge(params, _mapping(path))
    return merged


def _mapping(path: Path) -> dict[str, Any]:
    """A YAML file whose keys are names; an empty one is none of them."""
    content = read_yaml(path)
    if not isinstance(content, dict | None):
        raise UserError(str(path), f"expected a mapping of keys, found {type(content).__name__}", "Write `key: value` lines")
    for key in content or {}:
        if not isinstance(key, str):
            raise UserError(str(path), f"key {key!r} is no text", "Quote it, or correct the file")
    return content or {}


def load(section: str, model: type[S]) -> S:
    """The section of that name, as `model`, with the profile's overlay applied."""
    params = all_params()
    if section not in params:
        raise UserError(str(PARAMS), f"section '{section}' is missing", "Restore it from git")
    return validate(model, params[section] or {}, f"{PARAMS} ({params['profile']}), {section}")


def check_all() -> None:
    """Every section of the parameters in force, and the corpora folder; raises UserError for the first mistake.

    The section `mix` is `tasks.mix.params.MixParams`, and so on: a typo shows before a build starts, not when its stage is reached.
    """
    params = all_params()
    for section in (name for name in params if name not in ("profile", "corpora")):
        if not (Path(__file__).parents[1] / section / "params.py").is_file():
            known = [found.parent.name for found in Path(__file__).parents[1].glob("*/params.py") if found.parent.name != "common"]
            near = difflib.get_close_matches(section, known, n=1, cutoff=0.5)
            raise UserError(
                str(PARAMS), f"unknown section '{section}'", f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(sorted(known))}"
            )
        name = "".join(part.capitalize() for part in section.split("_")) + "Params"
        load(section, getattr(importlib.import_module(f"tasks.{section}.params"), name))
    if params["corpora"] != EMBEDDED_CORPORA:  # those are made by the build itself
        corpora_root()


@functools.lru_cache(maxsize=1)
def _corpora(stamps: tuple[tuple[str, int, int], ...]) -> str:
    """The key `corpora` of the files as they stand: renderers ask for it once a clip, and parsing takes far longer than a clip."""
    return str(all_params()["corpora"])


def corpora_root() -> Path:
    """Folder below which catalogs look for their corpora; raises UserError where it does not exist."""
    files = [path for path in (PARAMS, *PROFILES.glob("*.yaml")) if path.is_file()]
    root = Path(_corpora(tuple((str(path), path.stat().st_mtime_ns, path.stat().st_ino) for path in files))).expanduser()
    if not root.is_dir():
        raise UserError(f"corpora: {root}", "no such folder", "Pass CORPORA=<folder> to make, or set corpora in params.yaml")
    return root


def switch(profile: str, corpora: str | None) -> None:
    """Point params.yaml at a profile and a corpora folder, leaving every other line as it is."""
    path = PROFILES / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in PROFILES.glob("*.yaml")))
        raise UserError(f"PROFILE={profile}", "unknown profile", f"Choose one of: {known}")
    if corpora is None:
        current = str(read_yaml(PARAMS)["corpora"])
        if profile == "tiny":
            corpora = EMBEDDED_CORPORA
        elif current == EMBEDDED_CORPORA:
            raise UserError(f"PROFILE={profile}", "needs your recordings", "Add CORPORA=<folder that holds speech/ noise/ rooms/>")
        else:
            corpora = current
    folder = Path(corpora).expanduser()
    if corpora != EMBEDDED_CORPORA:
        if not folder.is_dir():
            raise UserError(f"CORPORA={corpora}", "no such folder", "Give the folder that holds your corpora")
        corpora = str(folder.resolve())
    text = PARAMS.read_text(encoding="utf-8")
    text = re.sub(r"^profile:.*$", lambda _: f"profile: {profile}", text, count=1, flags=re.M)
    text = re.sub(r"^corpora:.*$", lambda _: f"corpora: {corpora}", text, count=1, flags=re.M)
    write_text(PARAMS, text)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Check, print or switch the parameters in force.")
    parser.add_argument("--profile", help="profile to switch to (a file of profiles/)")
    parser.add_argument("--corpora", help="folder below which the catalogs look for their corpora")
    args = parser.parse_args()
    if args.profile or args.corpora:
        switch(args.profile or str(read_yaml(PARAMS)["profile"]), args.corpora)
        params = all_params()
        print(f"profile {params['profile']}, corpora {params['corpora']}")
    else:
        check_all()
        print(yaml.safe_dump(all_params(), sort_keys=False), end="")


if __name__ == "__main__":
    from tasks.common.cli import guarded

    guarded(_main)
