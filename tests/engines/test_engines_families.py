"""Every model family with random small weights: the tokens of model.generate, audio heard, company without effect, refusal."""

import base64
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    GenerationConfig,
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
    MistralCommonBackend,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)

from tasks.backbone.model import CHAT_TEMPLATE, build_processor
from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.engines import AudioRefusedError, Request, load_generator
from tasks.engines.openai_engine import wav_base64
from tasks.engines.prompts import Prompts

STEPS = 8
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
AUDIO = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128, "num_mel_bins": 32}
WORDS = ("lamp", "tree", "boat", "cow", "red", "blue")


def tokenizer_with(*tokens: str) -> Any:
    tokenizer = build_processor([f" {word}" for word in WORDS] + ["first word? options:"], 2).tokenizer
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    return tokenizer


def spread(model: Any) -> None:
    """Wider weights, so that logits are spread out and different audio gives different answers."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "position" not in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (3.0 if "embed_tokens" in name else 0.15))


def finish(model: Any, tokenizer: Any, folder: Path) -> None:
    spread(model)
    ends = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False)
    model.generation_config = ends
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def thinker(folder: Path) -> None:
    tokenizer = tokenizer_with()
    tokenizer.chat_template = None  # the published checkpoint keeps it in a file of its own
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    config = Qwen2_5OmniThinkerConfig(
        audio_config={**AUDIO, "output_dim": 64},
        vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64, "fullatt_block_indexes": [0]},
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope, "tie_word_embeddings": False},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        vision_start_token_id=len(tokenizer),  # model.generate looks for pictures
    )
    finish(Qwen2_5OmniThinkerForConditionalGeneration(config), tokenizer, folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    WhisperFeatureExtractor(feature_size=32, chunk_length=300, return_attention_mask=True).save_pretrained(folder)


def thinker_inputs(generator: Any, text: str, wave: Wave | None) -> dict[str, Any]:
    """As Qwen2_5OmniProcessor makes them: every clip padded to 300 s."""
    ids = generator.processor.tokenizer([text.replace("<|AUDIO|>", "<|AUDIO|>" * (0 if wave is None else tokens_of(wave)))], return_tensors="pt")
    heard = {}
    if wave is not None:
        made = generator.processor.feature_extractor(
            [wave], sampling_rate=RATE, padding="max_length", return_attention_mask=True, return_tensors="pt"
        )
        heard = {"input_features": made["input_features"], "feature_attention_mask": made["attention_mask"]}
    return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"], **heard}


def tokens_of(wave: Wave) -> int:
    """Two halvings of 10 ms frames."""
    frames = -(-len(wave) // 160)
    return (((frames - 1) // 2 + 1) - 2) // 2 + 1


def flamingo(folder: Path) -> None:
    tokenizer = tokenizer_with("<sound>")
    template = CHAT_TEMPLATE.replace("<|audio_bos|><|AUDIO|><|audio_eos|>", "<sound>")
    config = AudioFlamingo3Config(
        audio_config={"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "num_mel_bins": 32},
        text_config={**TEXT, "vocab_size": len(tokenizer), "model_type": "qwen2"},
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    finish(AudioFlamingo3ForConditionalGeneration(config), tokenizer, folder)
    extractor = WhisperFeatureExtractor(feature_size=32, chunk_length=30, return_attention_mask=True)
    AudioFlamingo3Processor(extractor, tokenizer, chat_template=template, max_audio_len=60).save_pretrained(folder)


def granite(folder: Path) -> None:
    tokenizer = tokenizer_with("<|audio|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    config = GraniteSpeechConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "model_type": "granite", "max_position_embeddings": 512, "logits_scaling": 4.0},
        encoder_config={"input_dim": 160, "num_layers": 2, "hidden_dim": 32, "num_heads": 2, "context_size": 20, "output_dim": 8},
        projector_config={
            **{"model_type": "blip_2_qformer", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
            **{"encoder_hidden_size": 32, "cross_attention_frequency": 1},
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"),
        has_lora_adapter=False,
        tie_word_embeddings=False,
    )
    finish(GraniteSpeechForConditionalGeneration(config), tokenizer, folder)
    GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer).save_pretrained(folder)


def processor_inputs(generator: Any, text: str, wave: Wave | None) -> dict[str, Any]:
    return dict(generator.processor(text=[text], **({} if wave is None else {"audio": [wave]}), return_tensors="pt"))


def voxtral(folder: Path, version: str = "v11") -> None:
    """With a tokenizer of single bytes, in the format of the published ones."""
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
    names += ["[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]"]
    names += ["[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", *(f"<SPECIAL_{i}>" for i in range(20, 24)), "[AUDIO]", "[BEGIN_AUDIO]"]
    names += [*(f"<SPECIAL_{i}>" for i in range(26, 32)), "[ARGS]", "[CALL_ID]", "[TRANSCRIBE]"]
    special = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]
    vocabulary = [{"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": None} for byte in range(256)]
    size = len(names) + 256
    settings = {"pattern": r"\s+|\S+", "num_vocab_tokens": 256, "default_vocab_size": size, "default_num_special_tokens": len(names)}
    spectrogram = {"num_mel_bins": 32, "hop_length": 160, "window_size": 400}
    audio = {"sampling_rate": RATE, "frame_rate": 12.5, "audio_encoding_config": spectrogram, "chunk_length_s": 30.0}
    tekken = {"config": settings | {"version": version}, "vocab": vocabulary, "special_tokens": special, "audio": audio}
    folder.mkdir(exist_ok=True)
    (folder / "tekken.json").write_text(json.dumps(tekken))
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11}
    encoder = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_mel_bins": 32}
    text = {**TEXT, "vocab_size": size, "head_dim": 32, "max_position_embeddings": 4096, **ends}
    model = VoxtralForConditionalGeneration(VoxtralConfig(audio_config=encoder, text_config=text, audio_token_id=24))
    spread(model)
    model.generation_config = GenerationConfig(**ends, do_sample=False)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=32, chunk_length=30).save_pretrained(folder)


def voxtral_inputs(generator: Any, text: str, wave: Wave | None) -> dict[str, Any]:
    """As VoxtralProcessor makes them, with mistral-common's token ids."""
    folder = Path(generator.processor.tokenizer.vocab_file).parent
    processor = VoxtralProcessor(generator.processor.feature_extractor, MistralCommonBackend(folder / "tekken.json"))
    prompt = text.removeprefix("<s>[INST]").removeprefix("[BEGIN_AUDIO][AUDIO]").removesuffix("[/INST]")
    heard = [] if wave is None else [{"type": "audio", "base64": wav_base64(wave)}]
    return dict(processor.apply_chat_template([{"role": "user", "content": [*heard, {"type": "text", "text": prompt}]}]))


FAMILIES: dict[str, tuple[Callable[[Path], None], Callable[[Any, str, Wave | None], dict[str, Any]]]] = {
    "qwen2_5_omni": (thinker, thinker_inputs),
    "audio_flamingo3": (flamingo, processor_inputs),
    "granite_speech": (granite, processor_inputs),
    "voxtral": (voxtral, voxtral_inputs),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    FAMILIES[name][0](folder)
    return name, folder, load_generator("transformers", folder)


@pytest.fixture(scope="module")
def asked() -> list[Request]:
    rng = np.random.default_rng(1)
    waves = [(0.1 * rng.standard_normal(int(frames))).astype(np.float32) for frames in rng.integers(4000, 3 * RATE, size=6)]
    prompts = [f"first word? options: {', '.join(rng.permutation(WORDS)[:3])}" for _ in range(9)]
    return [Request(prompt, None if number % 3 == 0 else waves[number % 6]) for number, prompt in enumerate(prompts)]


def test_greedy_equals_model_generate_with_the_published_processor(family: tuple[str, Path, Any], asked: list[Request]) -> None:
    name, _, generator = family
    ours = generator.generate(asked, max_new_tokens=STEPS)
    assert len({tuple(row[0].token_ids) for row in ours}) > 3
    for request, row in zip(asked, ours, strict=True):
        tensors = FAMILIES[name][1](generator, generator.prompts.text(request), request.audio)
        out = generator.model.generate(**tensors, max_new_tokens=STEPS, do_sample=False, suppress_tokens=[generator.prompts.audio_id])
        assert row[0].token_ids == out[0, tensors["input_ids"].shape[1] :].tolist()
        assert generator.prompts.lengths([request]) == [tensors["input_ids"].shape[1]]


def test_company_changes_no_token(family: tuple[str, Path, Any], asked: list[Request]) -> None:
    generator = family[2]
    together = generator.generate(asked, n=2, temperature=1.0, max_new_tokens=STEPS, seed=1)
    for request, row in zip(asked[:4], together, strict=False):
        alone = generator.generate([request], n=2, temperature=1.0, max_new_tokens=STEPS, seed=1)[0]
        assert [completion.token_ids for completion in alone] == [completion.token_ids for completion in row]
        for a, b in zip(alone, row, strict=True):
            np.testing.assert_allclose(a.token_logprobs, b.token_logprobs, atol=1.01e-4)


def test_audio_is_heard_and_scored_as_generated(family: tuple[str, Path, Any], asked: list[Request]) -> None:
    generator = family[2]
    request = asked[1]
    assert request.audio is not None
    other = Request(request.prompt, np.ascontiguousarray(request.audio[::-1]))
    first, second = (row[0] for row in generator.generate([request, other], max_new_tokens=STEPS))
    assert first.token_logprobs != second.token_logprobs
    for score, completion in zip(generator.score([request, other], [first.token_ids, second.token_ids]), (first, second), strict=True):
        np.testing.assert_allclose(score, completion.token_logprobs, atol=2e-4)


def test_what_does_not_fit_is_refused(family: tuple[str, Path, Any]) -> None:
    generator = family[2]
    long = Request("first word?", np.zeros(round((generator.window_s + 1) * RATE), np.float32))
    wordy = Request("lamp " * generator.context)
    assert generator.refusals([long, wordy, Request("first word?")], STEPS) == ["longer_than_window", "context_overflow", None]
    with pytest.raises(AudioRefusedError, match="longer_than_window"):
        generator.generate([long], max_new_tokens=STEPS)
    with pytest.raises(UserError, match="context_overflow: the model reads"):
        generator.generate([wordy], max_new_tokens=STEPS)


@pytest.mark.parametrize("version", ["v7", "v11", "v13"])
def test_the_prompt_of_voxtral_is_that_of_mistral_common(version: str, tmp_path: Path) -> None:
    voxtral(tmp_path, version)
    prompts = Prompts(tmp_path)
    for text in ("first word?", " A\n\nB: 'lamp', né? ", "Answer.\n"):
        for wave in (None, np.zeros(1600, np.float32), np.zeros(30 * RATE, np.float32), np.zeros(61 * RATE, np.float32)):
            request = Request(text, wave)
            expected = voxtral_inputs(prompts, prompts.text(request), wave)["input_ids"][0].tolist()
            alone = [token for token, run in groupby(expected) for _ in ([0] if token == prompts.audio_id else run)]
            assert prompts.ids([request]) == [alone] and prompts.lengths([request]) == [len(expected)]


@pytest.mark.parametrize("family", ["granite_speech"], indirect=True)
def test_the_logits_of_granite_are_scaled_down(family: tuple[str, Path, Any], asked: list[Request]) -> None:
    generator, request, tokens = family[2], asked[1], [5, 6, 7]
    tensors = processor_inputs(generator, generator.prompts.text(request), request.audio)
    ids = torch.cat([tensors.pop("input_ids"), torch.tensor([tokens])], 1)
    with torch.inference_mode():
        logits = generator.model(**tensors | {"attention_mask": torch.ones_like(ids)}, input_ids=ids).logits[0, -4:-1]
    expected = (logits / 4.0).log_softmax(-1)[range(3), tokens].numpy()
    np.testing.assert_allclose(generator.score([request], [tokens])[0], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["audio_flamingo3"], indirect=True)
def test_two_windows_of_audio_flamingo_are_both_heard(family: tuple[str, Path, Any]) -> None:
    wave = (0.1 * np.random.default_rng(0).standard_normal(35 * RATE)).astype(np.float32)
    end_changed = np.concatenate([wave[: 33 * RATE], wave[: 2 * RATE]])
    first, second = family[2].score([Request("first?", wave), Request("first?", end_changed)], [[5, 6]] * 2)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("family", ["qwen2_5_omni"], indirect=True)
def test_the_thinker_of_a_whole_model_is_found(family: tuple[str, Path, Any], tmp_path: Path) -> None:
    _, folder, generator = family
    config = json.loads((folder / "config.json").read_text())
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_omni", "thinker_config": config}))
    assert Prompts(tmp_path).vocabulary == generator.prompts.vocabulary
    (tmp_path / "chat_template.json").unlink()
    with pytest.raises(UserError, match="no chat template here"):
        Prompts(tmp_path)
