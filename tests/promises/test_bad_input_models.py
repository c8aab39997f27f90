"""A model folder with a broken file is one line that says which folder, whatever the libraries raise of it."""

import json
import shutil
from pathlib import Path

import pytest

from tasks.common.errors import UserError
from tasks.engines.prompts import Prompts
from tests import teacher_side

CASES = {
    "an empty config.json": ("config.json", b""),
    "a config.json cut off": ("config.json", b'{"model_type": "qwen2_audio", "text_co'),
    "a config.json that is a list": ("config.json", b"[]"),
    "a config.json that is not UTF-8": ("config.json", b"\xff\xfe{}"),
    "an unknown family": ("config.json", b'{"model_type": "gramophone"}'),
    "a family that is a list": ("config.json", b'{"model_type": ["qwen2_audio"]}'),
    "no length of context": (
        "config.json",
        b'{"model_type": "qwen2_audio", "text_config": {"model_type": "qwen2", "max_position_embeddings": null}}',
    ),
    "a length of context that is a text": ("config.json", b'{"model_type": "qwen2_audio", "text_config": {"max_position_embeddings": "long"}}'),
    "a tokenizer.json of another form": ("tokenizer.json", b'{"version": "1.0", "model": {"type": "Wheel"}}'),
    "a tokenizer.json cut off": ("tokenizer.json", b'{"version": "1.0", "mod'),
    "a tokenizer_config.json that is a list": ("tokenizer_config.json", b"[1]"),
    "a processor_config.json that is a text": ("processor_config.json", b'"x"'),
    "a generation_config.json that is a list": ("generation_config.json", b"[]"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "whole"
    teacher_side.write_model(folder)
    return folder


@pytest.mark.parametrize("what", CASES)
def test_a_broken_model_folder_is_named(what: str, whole: Path, tmp_path: Path) -> None:
    folder, (name, data) = tmp_path / "model", CASES[what]
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    assert Prompts(folder).context > 0
    (folder / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        Prompts(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_file_that_is_missing_is_named(whole: Path, tmp_path: Path) -> None:
    assert json.loads((whole / "config.json").read_text())["model_type"] == "qwen2_audio"
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        folder = tmp_path / name
        shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors", name))
        with pytest.raises(UserError, match=name):
            Prompts(folder)
