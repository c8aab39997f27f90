"""Nothing that comes with data or with a model is run: pickles and code are planted wherever one could be looked for, and none leaves its mark."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from lhotse.serialization import load_yaml

from tasks.common.errors import UserError
from tasks.common.params import read_yaml
from tasks.common.sha256sums import write_sums
from tasks.common.tables import read_rows
from tasks.engines import Request, load_generator
from tasks.pseudo_gt.stage import load_tokenizer
from tasks.see.basis import load_basis
from tasks.training import stage as training
from tasks.training.checkpoints import RUNS
from tasks.training.watch import Watch
from tests import teacher_side
from tests.promises import soak_rounds

Planted = Callable[[Path], None]


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """The file that whatever was planted makes when it runs; it is not there afterwards."""
    path = tmp_path / "it ran"
    pickle.loads(pickle.dumps(Evil(path)))
    assert path.exists(), "what is planted works"
    path.unlink()
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model") / "teacher"
    teacher_side.write_model(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A `from_pretrained` folder to plant things in."""
    return shutil.copytree(whole, tmp_path / "models/teacher")


def plant(path: Path, mark: Path) -> None:
    """As torch writes it, and the same as a bare pickle for who looks at the first bytes alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": Evil(mark)}, path)


def test_a_pickle_of_weights_is_not_read(folder: Path, mark: Path) -> None:
    for weights in folder.glob("*.safetensors*"):
        weights.unlink()
    for name in ("pytorch_model.bin", "model.pt", "adapter_model.bin"):
        plant(folder / name, mark)
    with pytest.raises(UserError, match="the weights cannot be loaded"):
        load_generator("transformers", folder)


def test_pickles_beside_the_weights_are_left_alone(folder: Path, mark: Path) -> None:
    names = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth", "vocab.pkl", "tokenizer.pkl", "adapter/adapter_model.bin")
    for name in names:
        plant(folder / name, mark)
    generator = load_generator("transformers", folder)
    assert generator.generate([Request("first word?", None)], max_new_tokens=2)


@pytest.mark.parametrize("family", ["known", "unknown"])
def test_code_that_comes_with_a_model_is_not_run_and_nobody_is_asked(
    family: str, folder: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers asks at the terminal for fifteen seconds unless it is told no; y would run the code."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Evil: pass\n"
    (folder / "evil.py").write_text(code)
    auto = {f"Auto{kind}": "evil.Evil" for kind in ("Config", "Model", "ModelForCausalLM", "Processor", "FeatureExtractor")}
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        if (path := folder / name).is_file():
            held = json.loads(path.read_text())
            held["auto_map"] = auto | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
            if family == "unknown" and name == "config.json":
                held["model_type"] = "evil"
            if family == "unknown" and name == "tokenizer_config.json":
                held["tokenizer_class"] = "Evil"
            path.write_text(json.dumps(held))
    if family == "unknown":
        with pytest.raises(UserError, match="unknown model family 'evil'"):
            load_generator("transformers", folder)
        with pytest.raises((UserError, ValueError)):
            load_tokenizer(folder)
    else:
        assert load_generator("transformers", folder).generate([Request("first word?", None)], max_new_tokens=2)
        assert load_tokenizer(folder)
    assert "custom code" not in capsys.readouterr().out


def test_yaml_makes_no_objects(tmp_path: Path, mark: Path) -> None:
    text = f"a: !!python/object/apply:builtins.open [{str(mark)!r}, w]\n"
    path = tmp_path / "evil.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(path)
    with pytest.raises(yaml.YAMLError):
        load_yaml(path)  # how lhotse reads the manifests of corpora
    yaml.unsafe_load(text)
    assert mark.exists(), "another loader would have run it"
    mark.unlink()


def test_tables_hold_no_objects(tmp_path: Path, mark: Path) -> None:
    """An extension type of Python's is a pickle in the schema (CVE-2023-47248), and so may be an array of objects."""
    held = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Evil(mark))}
    schema = pa.schema([pa.field("evil", pa.int64(), metadata=held)], metadata={b"pandas": pickle.dumps(Evil(mark))})
    path = tmp_path / "evil.parquet"
    pq.write_table(pa.table({"evil": [1]}).cast(schema), path)
    assert read_rows(path) == [{"evil": 1}]
    np.save(tmp_path / "evil.npy", np.array([Evil(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(tmp_path / "evil.npy")  # numpy's own default; no stage reads such files (test_no_way_in_code.py)


def test_a_basis_is_no_pickle(tmp_path: Path, mark: Path) -> None:
    plant(tmp_path / "basis.safetensors", mark)
    with pytest.raises(Exception, match=r".") as caught:
        load_basis(tmp_path / "basis.safetensors")
    assert not isinstance(caught.value, AssertionError)


class StoppedError(Exception):
    """Stands for whatever ends a run."""


@pytest.mark.soak
def test_a_checkpoint_is_gone_on_from_without_unpickling(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of one, its list of checksums made to fit, as one could who can write there."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    soak_rounds.learn(0.0)  # two steps, a checkpoint after each

    def stop(self: Watch, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 2:
            raise StoppedError

    with monkeypatch.context() as stopping, pytest.raises(StoppedError):
        stopping.setattr(Watch, "on_step_end", stop)
        training.run("sft")
    (run,) = RUNS.iterdir()
    (checkpoint,) = run.glob("checkpoint-*")
    pickled = [path.name for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth", ".bin")]
    assert {"state.pt", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= set(pickled)
    shutil.copytree(run, tmp_path / "good")
    for name in pickled:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(tmp_path / "good", run)
        plant(checkpoint / name, mark)
        write_sums(checkpoint)
        if name == "training_args.bin":  # never read
            continue
        with pytest.raises((pickle.UnpicklingError, UserError), match=r"weights_only|[Ww]eights only"):
            training.run("sft")
