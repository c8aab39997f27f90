"""What the code must never do, looked for in its syntax trees: shell strings, evaluation, pickles, open addresses, secrets."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for folder in ("tasks", "flows", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
# Called with data, each of these can run a program.
NEVER = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads"),
    *("joblib.load", "shelve.open", "marshal.load", "marshal.loads", "pandas.read_pickle", "pd.read_pickle"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("tempfile.mktemp", "shutil.unpack_archive", "tarfile.is_tarfile", "zipfile.ZipFile", "ssl._create_unverified_context"),
}
SERVERS = {"listen", "serve_forever", "create_server", "start_server", "HTTPServer", "ThreadingHTTPServer", "TCPServer"}  # we serve nothing ourselves
PROGRAMS = {"run", "Popen", "call", "check_call", "check_output", "create_subprocess_shell"}
# Imported from their modules they would not be known by these names.
BY_FULL_NAME = NEVER | {"subprocess.run", "subprocess.Popen", "yaml.load", "torch.load", "numpy.load"}
SECRET = re.compile(r"sk-[A-Za-z0-9]{16,}|ghp_\w{20,}|hf_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|xox[bp]-\w{10,}")
# The one file that may: it hands PyYAML's safe loader to yaml.load after the document was measured.
SAFE_LOADER = "tasks/common/bounded_yaml.py"


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute; `?.c` where it hangs on a value."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_constant(node: ast.AST | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def faults_of_call(call: ast.Call, safe_loader: bool) -> Iterator[str]:
    name = dotted(call.func)
    given = {word.arg: word.value for word in call.keywords if word.arg}
    if name in NEVER or (name.endswith(".extractall") or name.endswith(".extract")):
        yield name
    if name.split(".")[-1] in SERVERS or name == "uvicorn.run":
        yield f"a server of its own, {name}"
    if "shell" in given and not is_constant(given["shell"], False):
        yield f"{name} with shell="
    if name.split(".")[-1] in PROGRAMS and name.split(".")[0] in ("subprocess", "asyncio") and call.args:
        if isinstance(call.args[0], ast.Constant | ast.JoinedStr | ast.BinOp) and not isinstance(getattr(call.args[0], "op", None), ast.Add):
            yield f"{name} of a string"
        if name.endswith("create_subprocess_shell"):
            yield name
    if name in ("yaml.load", "yaml.load_all"):
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if not (loader is not None and (dotted(loader).endswith("SafeLoader") or (safe_loader and dotted(loader) == "LOADER"))):
            yield f"{name} with another loader than the safe one"
    if name == "torch.load" and not is_constant(given.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and not is_constant(given.get("allow_pickle"), False):
        yield "numpy.load without allow_pickle=False"
    if "allow_pickle" in given and is_constant(given["allow_pickle"], True):
        yield f"{name} with allow_pickle=True"
    if re.search(r"\bAuto\w+\.from_pretrained$", name) and "trust_remote_code" not in given:
        yield f"{name} without trust_remote_code=False: it would ask at the terminal whether to run code that came with a model"
    if "trust_remote_code" in given and not is_constant(given["trust_remote_code"], False):
        yield f"{name} with trust_remote_code"
    if "verify" in given and is_constant(given["verify"], False):
        yield f"{name} with verify=False"


def faults(source: str, safe_loader: bool = False) -> list[str]:
    """What a file does that it must not, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        said: list[str] = []
        if isinstance(node, ast.Call):
            said += faults_of_call(node, safe_loader)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if "0.0.0.0" in node.value or node.value == "::":
                said.append("an address that is every address of the machine")
            if SECRET.search(node.value):
                said.append("a secret")
        elif isinstance(node, ast.ImportFrom) and node.module in (
            "pickle",
            "cloudpickle",
            "dill",
            "marshal",
            "shelve",
            "os",
            "subprocess",
            "telnetlib",
        ):
            said += [f"from {node.module} import {one.name}" for one in node.names if f"{node.module}.{one.name}" in NEVER | {"subprocess.run"}]
        elif isinstance(node, ast.Assert) and not narrows(node.test):
            said.append("an assertion that is more than a hint to the type checker: python -O leaves it out")
        found += [f"line {getattr(node, 'lineno', 0)}: {what}" for what in said]
    return found


def narrows(test: ast.expr) -> bool:
    """`x is not None`, `isinstance(x, T)`, or several of them."""
    if isinstance(test, ast.BoolOp):
        return all(map(narrows, test.values))
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and is_constant(test.comparators[0], None)
    return isinstance(test, ast.Call) and dotted(test.func) == "isinstance"


def test_no_file_does_what_none_may() -> None:
    found = {}
    for path in FILES:
        name = str(path.relative_to(ROOT))
        said = faults(path.read_text(encoding="utf-8"), name == SAFE_LOADER)
        # Assertions of a measurement check its figures, not input.
        found[name] = [one for one in said if not (name.startswith("bench/") and "assertion" in one)]
    assert len(found) > 300 and {name: said for name, said in found.items() if said} == {}


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "os.system('ls ' + name)",
        "subprocess.run(f'ls {name}', shell=True)",
        "subprocess.run('ls')",
        "subprocess.Popen(['ls'], shell=wanted)",
        "pickle.load(file)",
        "from pickle import loads",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text, Loader=LOADER)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoConfig.from_pretrained(path)",
        "archive.extractall(folder)",
        "tempfile.mktemp()",
        "httpx.get(url, verify=False)",
        "server.bind(('0.0.0.0', 80))",
        "key = 'sk-abcdefghijklmnopqrstuvwx'",
        "assert rows > 0",
        "http.server.ThreadingHTTPServer(address, handler)",
        "probe.listen()",
    ],
)
def test_each_of_them_would_be_found(source: str) -> None:
    assert faults(source)


def test_what_is_allowed_is_not_found() -> None:
    for source in ("subprocess.run([sys.executable, '-c', code])", "yaml.safe_load(text)", "model.eval()", "assert entry is not None"):
        assert faults(source) == []


def test_files_of_settings_open_no_address_and_hold_no_secret() -> None:
    tracked = [
        "params.yaml",
        "prefect.toml",
        "prefect.yaml",
        "compose.yaml",
        "dvc.yaml",
        "Makefile",
        "pyproject.toml",
        *(ROOT / "profiles").glob("*"),
    ]
    for name in tracked:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "0.0.0.0" not in text and not SECRET.search(text), name
    server = tomllib.loads((ROOT / "prefect.toml").read_text(encoding="utf-8"))["server"]["api"]
    assert server["host"] == "127.0.0.1" and "*" not in server["cors_allowed_origins"]
    for service in yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"].values():
        assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])
