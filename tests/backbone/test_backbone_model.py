import unicodedata

import numpy as np
import pytest
import torch
from backbone_samples import SMALL, WORDS
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

from tasks.backbone.model import TAGS, build_model, build_processor, save, sinusoids
from tasks.backbone.stage import texts_of
from tasks.items.build import number_word
from tasks.items.prompt import response_text


@pytest.fixture(scope="module")
def folder(processor, tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone")
    save(build_model(processor, SMALL), processor, path)
    return path


@pytest.fixture(scope="module")
def question(processor):
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "first word? options: lamp, tree"}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    wave = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    return {"text": text, "audio": [wave], "sampling_rate": 16_000, "return_tensors": "pt"}


def test_the_folder_loads_whole_and_answers_alike(folder, processor, question):
    loaded, info = Qwen2AudioForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    inputs, again = processor(**question), AutoProcessor.from_pretrained(folder)(**question)
    assert inputs.keys() == again.keys()
    for name in inputs:
        assert torch.equal(inputs[name], again[name]), name
    built = build_model(processor, SMALL).eval()
    assert torch.equal(built(**inputs).logits, loaded.eval()(**again).logits)
    assert loaded.generation_config.eos_token_id == [processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id]


def test_the_weights_carry_the_names_of_the_hub(folder):
    keys = set(load_file(folder / "model.safetensors"))
    assert {key.split(".")[0] for key in keys} == {"audio_tower", "language_model", "multi_modal_projector"}
    assert {"language_model.lm_head.weight", "language_model.model.embed_tokens.weight", "language_model.model.norm.weight"} <= keys
    assert not [key for key in keys if key.startswith("language_model.model.model.")]


def test_every_word_and_tag_is_one_token(processor):
    tokenizer = processor.tokenizer
    for word in [*WORDS, *map(number_word, (1, 2, 3)), "yes", "no", "word", "said", "options"]:
        assert len(tokenizer(f" {word}")["input_ids"]) == 1, word
    response = response_text(["lamp", "tree"], "lamp")
    assert tokenizer.convert_ids_to_tokens(tokenizer(response)["input_ids"]) == [TAGS[0], "Ġlamp", "Ġtree", TAGS[1], TAGS[2], "Ġlamp", TAGS[3]]
    assert tokenizer.decode(tokenizer(response + "<|im_end|>")["input_ids"], skip_special_tokens=True) == response


@given(text=st.text(max_size=30).filter(lambda text: "<|" not in text))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_the_tokenizer(processor, text):
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == unicodedata.normalize("NFC", text)


def test_the_same_texts_give_the_same_tokenizer_in_any_order(questions):
    texts = texts_of(WORDS, questions, 3)
    one, other = (build_processor(order, 2).tokenizer.get_vocab() for order in (texts, texts[::-1]))
    assert one == other


def test_the_seed_decides_the_weights(processor):
    torch.manual_seed(99)
    one = build_model(processor, SMALL).state_dict()
    state = torch.random.get_rng_state()
    two, other = (build_model(processor, SMALL.model_copy(update={"seed": seed})).state_dict() for seed in (0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_the_position_table_can_be_extended():
    assert torch.equal(sinusoids(100, 64), sinusoids(1500, 64)[:100])
