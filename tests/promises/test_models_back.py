"""A model trained elsewhere comes back: any `from_pretrained` folder below models/ is evaluated, and what is missing from one is named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

from flows.command import card
from tasks.common.errors import UserError
from tasks.common.fanout import in_process
from tasks.common.params import read_yaml
from tasks.common.sha256sums import write_sums
from tasks.common.tables import read_rows
from tasks.engines import Request, load_generator, model_revision
from tasks.evaluate.stage import run
from tasks.items.prompt import prompt_text
from tasks.mix.read import waves_of
from tests.evaluate import evaluate_world

BASE, MINE = Path("models/backbone"), Path("models/mine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("back")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        evaluate_world.write_params(root, methods=["base", "mine"], unseen_items=0)
        evaluate_world.build()
        evaluate_world.write_models(root / "models", "backbone")
    return root


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded() -> tuple[Any, Any]:
    """Model and processor of the backbone, by transformers alone."""
    return Qwen2AudioForConditionalGeneration.from_pretrained(BASE), AutoProcessor.from_pretrained(BASE)


def saved(model: Any, processor: Any, **how: Any) -> None:
    """models/mine, as transformers writes it."""
    model.save_pretrained(MINE, **how)
    processor.save_pretrained(MINE)


def answers(method: str) -> list[tuple[Any, ...]]:
    columns = ["method", "condition", "mixture_id", "item_id", "text", "confidence"]
    return [tuple(row.values())[1:] for row in read_rows(Path("reports/answers.parquet"), columns) if row["method"] == method]


def test_a_folder_saved_by_transformers_alone_answers_as_the_model_it_holds(world: Path) -> None:
    """The backbone saved again, in several files and under transformers' own names of the weights, has the base's answers to the bit."""
    saved(*loaded(), max_shard_size="40KB")
    assert len(list(MINE.glob("model-*.safetensors"))) > 1 and not (MINE / "model.safetensors").exists()
    run(fan_out=in_process)
    assert answers("mine") == answers("base") != []
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert metrics["mine"]["acc_noisy"] == metrics["base"]["acc_noisy"]


def test_another_model_is_asked_as_transformers_would_ask_it(world: Path) -> None:
    model, processor = loaded()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    saved(model, processor)
    run(fan_out=in_process)
    assert answers("mine") != answers("base")
    items = {row["item_id"]: row for row in read_rows(Path("data/items.parquet"))}
    rows = [row for row in read_rows(Path("reports/answers.parquet")) if row["method"] == "mine" and row["condition"] == "noisy"][:4]
    waves = waves_of([row["mixture_id"] for row in rows])
    model = Qwen2AudioForConditionalGeneration.from_pretrained(MINE).eval()
    for row in rows:
        item = items[row["item_id"]]
        turn = {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": prompt_text(item["question"], item["options"])}]}
        text = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        inputs = processor(text=text, audio=[waves[row["mixture_id"]]], sampling_rate=16_000, return_tensors="pt")
        out = model.generate(**inputs, max_new_tokens=evaluate_world.EVALUATE["max_new_tokens"], do_sample=False)
        assert processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip() == row["text"]


def test_lora_weights_are_merged_first(world: Path) -> None:
    """As docs/evaluate.md says; the folder of an adapter alone is no model, and the line says what to do."""
    model, processor = loaded()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=r".*self_attn\.(q|v)_proj", init_lora_weights=False))
    adapted.save_pretrained(MINE)
    with pytest.raises(UserError, match=r"models/mine: the weights of an adapter alone.*merge_and_unload"):
        run(fan_out=in_process)
    merged = PeftModel.from_pretrained(loaded()[0], MINE).merge_and_unload()
    shutil.rmtree(MINE)
    saved(merged, processor)
    changed = load_file(MINE / "model.safetensors")
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in load_file(BASE / "model.safetensors").items() if name in changed)
    run(fan_out=in_process)
    assert answers("mine")


def test_the_lines_of_a_model_card_load_the_model_and_ask_it(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    sf.write("speech.wav", rng.normal(0, 0.1, 16_000), 16_000)
    text = card._loading(json.loads((BASE / "config.json").read_text()), adapter=False)
    code = re.search(r"```python\n(.*?)```", text, re.S)
    assert code is not None
    exec(code[1].replace("<this folder>", str(BASE)), {})
    heard = sf.read("speech.wav", dtype="float32")[0]
    [[answer]] = load_generator("transformers", BASE).generate([Request("first word? options: dog, fish", heard)], max_new_tokens=24)
    _, processor = loaded()
    assert (
        processor.tokenizer.decode(processor.tokenizer(capsys.readouterr().out.strip())["input_ids"], skip_special_tokens=True).strip() == answer.text
    )


def without(*names: str) -> Callable[[], None]:
    def change() -> None:
        for name in names:
            (MINE / name).unlink()

    return change


def with_config(**changes: Any) -> Callable[[], None]:
    return lambda: (MINE / "config.json").write_text(json.dumps(json.loads((MINE / "config.json").read_text()) | changes))  # type: ignore[return-value]


def cut() -> None:
    weights = MINE / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def partly() -> None:
    """transformers alone would draw what is not there at random."""
    weights = load_file(MINE / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if not name.endswith("lm_head.weight")}, MINE / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("config.json"), "no model here .*put a from_pretrained folder there"),
        (without("processor_config.json"), "no processor here"),
        (without("tokenizer_config.json"), "no tokenizer here"),
        (without("model.safetensors"), "the weights cannot be loaded"),
        (cut, "the weights cannot be loaded"),
        (partly, "1 of its weights are not there, the first lm_head.weight"),
        (with_config(model_type="whisper", architectures=["WhisperForConditionalGeneration"]), "unknown model family 'whisper'"),
    ],
    ids=["config", "processor", "tokenizer", "weights", "cut weights", "half the weights", "family"],
)
def test_what_a_folder_lacks_is_named(change: Callable[[], None], said: str, world: Path) -> None:
    saved(*loaded())
    change()
    with pytest.raises(UserError, match=f"models/mine.*{said}"):
        run(fan_out=in_process)
    assert not Path("reports/metrics.json").exists()


def test_weights_saved_over_a_copy_of_ours_are_named_until_its_list_is_gone(world: Path) -> None:
    shutil.copytree(BASE, MINE)
    write_sums(MINE)
    model, processor = loaded()
    with torch.no_grad():
        model.lm_head.weight.mul_(2.0)
    saved(model, processor)
    with pytest.raises(UserError, match=r"models/mine/\S+: its content is not what was written"):
        model_revision(MINE)
    (MINE / "SHA256SUMS").unlink()
    assert model_revision(MINE) != model_revision(BASE)


def test_dvc_runs_the_evaluation_again_when_its_methods_change() -> None:
    """That models/mine is no dependency is what docs/evaluate.md says: naming it makes the stage stale, changing it afterwards does not."""
    evaluate = read_yaml(Path(__file__).resolve().parents[2] / "dvc.yaml")["stages"]["evaluate"]
    assert "evaluate" in evaluate["params"] and "models/mine" not in evaluate["deps"] and "models/backbone" in evaluate["deps"]
