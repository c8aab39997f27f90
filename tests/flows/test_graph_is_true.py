"""dvc.yaml names all the code a stage runs: what it imports, and what that imports, is among its dependencies."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(name: str) -> Path | None:
    """File of a dotted name, if it is ours; the name of a function of a module leads to the module."""
    path = ROOT / name.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def imports_of(file: Path) -> set[Path]:
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {path for name in names if name.startswith("tasks") and (path := module_file(name))}
    return found


def code_of(package: str) -> set[Path]:
    """Every file of ours that running the package can execute."""
    todo, seen = set((ROOT / package).glob("*.py")), set[Path]()
    while todo:
        file = todo.pop()
        seen.add(file)
        todo |= imports_of(file) - seen
    return {file for file in seen if file.name != "__init__.py"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_all_the_code_it_runs(name: str) -> None:
    stage = STAGES[name].get("do", STAGES[name])
    package = stage["cmd"].split()[2].replace(".", "/")
    deps = {ROOT / dep for dep in stage["deps"]}
    missing = {str(file.relative_to(ROOT)) for file in code_of(package) if not deps & {file, *file.parents}}
    assert not missing, f"dvc.yaml: {name} runs code it does not depend on, so a change there would not make it stale"
