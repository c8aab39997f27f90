"""Text LLMs: the tokens of model.generate whatever the architecture, vLLM's numbers, and a Pseudo-GT author that never hears anything."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tasks.backbone.model import build_processor
from tasks.common.errors import UserError
from tasks.common.tables import read_rows
from tasks.engines import AudioRefusedError, Generator, Request, load_generator, text
from tasks.engines.prompts import Prompts
from tasks.pseudo_gt import stage, writing
from tasks.pseudo_gt.checking import reply_schema
from tests import teacher_side
from tests.engines.stub_server import Stub, serving

STEPS = 8
AUTHOR = "qwen3"
CONTEXT = 1536
WORDS = ("lamp", "tree", "boat", "cow", "red", "blue")
SMALL = {
    **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32},
    **{"max_position_embeddings": CONTEXT, "tie_word_embeddings": False},
}
# What sets an architecture apart: its logits, its attention, or a token its tokenizer puts in front.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen3": {},
    "llama": {},
    "mistral": {"sliding_window": 24},
    "gemma3_text": {"sliding_window": 24},
    "gemma2": {"final_logit_softcapping": 2.0, "sliding_window": 24},
    "granite": {"logits_scaling": 4.0},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 24},
    "qwen3_next": {
        **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
        **{"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16},
        **{"layer_types": ["linear_attention", "full_attention"]},
    },
}
# As hybrid models do: with nothing said, the model thinks aloud.
TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def write_model(folder: Path, model_type: str) -> None:
    """Random weights; the author's lean: to end a response, and, where it must not end, to close a quotation."""
    words = [f" {word}" for word in WORDS] + ["first word? options:", "Reply with one JSON object and nothing else", '": "', '{"think']
    tokenizer = build_processor(words, 2).tokenizer
    tokenizer.chat_template = TEMPLATE
    if model_type == "llama":
        tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
        begin = ("<|begin|>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|begin|> $A", special_tokens=[begin])
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **SMALL, **ARCHITECTURES[model_type], **ends)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (0.1 if "embed_tokens" in name else 0.3))
        if model_type == AUTHOR:
            # No layer writes the first dimension, so the head's first column is a bias.
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight[0] = layer.mlp.down_proj.weight[0] = 0.0
            embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
            embeddings *= 10
            embeddings[:, 0], head[:, 0] = 8.0, 0.0
            for piece, lean in (('"', 9.0), ("<|im_end|>", 14.0)):
                head[tokenizer.convert_tokens_to_ids(piece), 0] = lean
    model.generation_config = GenerationConfig(**ends, do_sample=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    for name in ARCHITECTURES:
        write_model(root / name, name)
    return {name: root / name for name in ARCHITECTURES}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def local(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Generator:
    return load_generator("transformers", folders[request.param])


@pytest.fixture(scope="module")
def asked() -> list[Request]:
    rng = np.random.default_rng(2)
    return [Request("first word? options: " + " ".join(rng.choice(WORDS, int(rng.integers(2, 40))))) for _ in range(24)]


@pytest.fixture(scope="module")
def vllm(folders: dict[str, Path]) -> Iterator[Any]:
    engine = load_generator("vllm", folders[AUTHOR])
    yield engine
    engine.close()  # type: ignore[attr-defined]


def test_greedy_equals_model_generate_and_scores_are_its_own(local: Any, asked: list[Request]) -> None:
    ours = local.generate(asked, max_new_tokens=STEPS)
    assert len({tuple(row[0].token_ids) for row in ours}) > 12
    scores = local.score(asked, [row[0].token_ids for row in ours])
    for request, row, score in zip(asked, ours, scores, strict=True):
        prompt = torch.tensor(local.prompts.ids([request]))
        out = local.model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=STEPS, do_sample=False)
        assert row[0].token_ids == out[0, prompt.shape[1] :].tolist()
        with torch.inference_mode():
            logits = local.model(input_ids=out).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
        expected = logits.gather(1, out[0, prompt.shape[1] :, None])[:, 0].numpy()
        # A recurrence rounds differently in chunks of another length.
        np.testing.assert_allclose(score, expected, atol=3e-4)
        np.testing.assert_allclose(row[0].token_logprobs, expected, atol=3e-4)


def test_company_changes_no_token(local: Any, asked: list[Request]) -> None:
    together = local.generate(asked, n=2, temperature=1.0, max_new_tokens=STEPS, seed=1)
    alone = [local.generate([request], n=2, temperature=1.0, max_new_tokens=STEPS, seed=1)[0] for request in asked[:3]]
    assert [[c.token_ids for c in row] for row in alone] == [[c.token_ids for c in row] for row in together[:3]]


def test_the_prompt_is_the_chat_template_s(local: Any, folders: dict[str, Path]) -> None:
    turn = [{"role": "user", "content": "first word?"}]
    expected = local.processor.tokenizer.apply_chat_template(turn, add_generation_prompt=True, enable_thinking=False)["input_ids"]
    request = Request("first word?")
    assert local.prompts.ids([request]) == [expected] and local.prompts.lengths([request]) == [len(expected)]
    assert local.prompts.text(request).endswith("</think>\n\n")
    begin = local.processor.tokenizer.bos_token_id
    assert begin is None or (expected.count(begin), local.processor.tokenizer("lamp")["input_ids"][0]) == (1, begin)
    assert local.context == CONTEXT
    wordy = Request("lamp " * CONTEXT)
    assert local.refusals([request, wordy], STEPS) == [None, "context_overflow"]


def test_audio_is_refused(local: Any) -> None:
    heard = Request("first word?", np.zeros(16_000, np.float32))
    assert local.refusals([heard, Request("first word?")], STEPS) == ["text_only", None]
    with pytest.raises(AudioRefusedError, match="text_only: this model reads text and hears nothing"):
        local.generate([heard], max_new_tokens=STEPS)


def test_vllm_says_the_same(vllm: Any, folders: dict[str, Path], asked: list[Request]) -> None:
    local = load_generator("transformers", folders[AUTHOR])
    ours, theirs = (engine.generate(asked, max_new_tokens=STEPS) for engine in (local, vllm))
    tokens = [row[0].token_ids for row in ours]
    assert [row[0].token_ids for row in theirs] == tokens
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other[0].token_logprobs, mine[0].token_logprobs, atol=1.01e-4)
    drawn = np.random.default_rng(3).integers(0, 300, (len(asked), STEPS)).tolist()  # far from what the model would say
    for mine, other in zip(local.score(asked, drawn), vllm.score(asked, drawn), strict=True):
        np.testing.assert_allclose(other, mine, atol=1e-4)
    for mine, other in zip(local.top_logprobs(asked, tokens, 5), vllm.top_logprobs(asked, tokens, 5), strict=True):
        np.testing.assert_allclose(other.logprobs, mine.logprobs, atol=1e-4)
    with pytest.raises(AudioRefusedError, match="text_only"):
        vllm.generate([Request("first word?", np.zeros(16_000, np.float32))], max_new_tokens=STEPS)


@pytest.fixture
def project(tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose author is the text model; `author` are its other parameters."""
    teacher_side.build(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")

    def run(**author: Any) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
        author = {"model": str(folders[AUTHOR]), **author}
        Path("profiles/tiny.yaml").write_text(yaml.safe_dump({"pseudo_gt": {"source": "metadata", "author": author}}))
        generations = stage.run().done["generations"]
        return generations, read_rows(stage.PSEUDO_GT), read_rows(stage.EXCLUDED)

    return run


def test_a_text_llm_writes_pseudo_gts_in_form_on_vllm(project: Any, vllm: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "shared_generator", lambda *args, **options: vllm)
    generations, rows, excluded = project(engine="vllm", max_new_tokens=96, attempts=2)
    items = {row["item_id"]: row for row in read_rows(stage.ITEMS)}
    assert rows and len(rows) + len(excluded) == len(items) and generations == len({row["key"] for row in rows + excluded})
    for row in rows + excluded:
        assert row["finish_reason"] == "stop" and row["attempt"] == 0
        jsonschema.validate(json.loads(row["reply"]), reply_schema(items[row["item_id"]]["options"]))
    assert {row["reason"] for row in excluded} <= {"contradiction"}  # the form is enforced, the sense is not
    assert all(row["author"].startswith(f"{folders[AUTHOR]}@") for row in rows)
    assert project(engine="vllm", max_new_tokens=96, attempts=2)[0] == 0


def test_unconstrained_the_form_is_asked_for_again_and_then_given_up(project: Any) -> None:
    generations, rows, excluded = project(engine="transformers", max_new_tokens=200, attempts=2)
    assert not rows and {row["reason"] for row in excluded} <= {"not_json", "too_long"}
    again = [row for row in excluded if row["reason"] == "not_json"]
    assert again and {row["attempt"] for row in again} == {1}
    assert generations > len({row["key"] for row in excluded})
    assert project(engine="transformers", max_new_tokens=200, attempts=2)[0] == 0


def test_a_server_is_told_what_the_template_was_given(folders: dict[str, Path]) -> None:
    prompts, bodies = Prompts(folders["llama"]), []

    def respond(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        question = body["messages"][0]["content"][-1]["text"]
        end = prompts.end_ids[0]
        choice = {"index": 0, "token_ids": [end], "message": {"content": ""}, "finish_reason": "stop", "logprobs": {"content": [{"logprob": -1.0}]}}
        return {"choices": [choice], "prompt_token_ids": prompts.ids([Request(question)])[0]}

    with serving(Stub(respond, [{"id": "author", "owned_by": "vllm", "max_model_len": CONTEXT}])) as stub:
        engine = load_generator("openai", folders["llama"], url=stub.url)
        assert engine.generate([Request("first word?")], max_new_tokens=STEPS)[0][0].token_logprobs == [-1.0]
        with pytest.raises(AudioRefusedError, match="text_only"):
            engine.generate([Request("first word?", np.zeros(16_000, np.float32))], max_new_tokens=STEPS)
    assert [body["chat_template_kwargs"] for body in bodies] == [{"enable_thinking": False, "date_string": "26 Jul 2024"}]
    assert "bad_words" not in bodies[0]


def test_what_is_no_text_llm_is_named(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in folders[AUTHOR].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(text, "logits", lambda model, hidden: model.lm_head(hidden) * 2)
    with pytest.raises(UserError, match="Qwen3ForCausalLM makes its logits in a way of its own"):
        load_generator("transformers", folder)
    monkeypatch.undo()
    monkeypatch.setattr(text, "hidden_states", lambda model, input_ids, **_: model.base_model(input_ids=input_ids))
    with pytest.raises(UserError, match="Qwen3ForCausalLM reads padding"):
        load_generator("transformers", folder)
    monkeypatch.undo()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen3ForSequenceClassification"]}))
    with pytest.raises(UserError, match=r"unknown model family 'qwen3' \(Qwen3ForSequenceClassification\).*causal language models of text"):
        load_generator("transformers", folder)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="no chat template here"):
        Prompts(folder)
