import numpy as np
import pytest
import torch

from tasks.backbone.features import LogMel, augment, stretch
from tasks.backbone.lessons import IGNORE, Spoken, at_speed
from tasks.common.audio import RATE
from tasks.items.prompt import prompt_text


def same(one, other) -> bool:
    names = one.inputs.keys() == other.inputs.keys() and all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
    return names and torch.equal(one.labels, other.labels)


def test_log_mel_equals_the_extractor(processor):
    extractor = processor.feature_extractor
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, scale, size).astype(np.float32) for scale, size in ((0.1, 32_000), (0.01, 9_999), (0.5, 1_600))]
    padded = torch.zeros(3, extractor.n_samples)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    expected = extractor(waves, sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert torch.allclose(LogMel(extractor)(padded), expected, atol=1e-4, rtol=0)


def test_stretch_moves_features_in_time():
    ramp = torch.arange(100.0).expand(2, 3, 100)
    moved = stretch(ramp, np.array([1.0, 2.0]))
    assert torch.allclose(moved[0, 0, :98], torch.arange(98.0), atol=1e-3)
    assert torch.allclose(moved[1, 0], torch.arange(100.0) / 2, atol=1e-3)


def test_masks_hide_at_most_what_they_may(augment_params):
    plain = augment_params.model_copy(update={"equaliser": 0.0})
    mel = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 32, 200)).astype(np.float32))
    hidden = (augment(mel, np.random.default_rng(1), plain) != mel).numpy()
    assert hidden.any() and hidden.mean() <= (plain.frequency_masks * plain.frequency_mask_bins / 32 + plain.time_mask_frames / 200)


def test_a_batch_reads_what_the_processor_would_write(lessons, processor):
    rng = np.random.default_rng(3)
    spoken = lessons.utterance(rng, 2, augmented=False)
    item = lessons.ask(spoken, rng)
    prompt = prompt_text(item["question"], item["options"])
    content = [{"type": "audio"}, {"type": "text", "text": prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    expected = processor(text=text, audio=[spoken.wave], sampling_rate=RATE, return_tensors="pt")["input_ids"][0].tolist()
    assert lessons.prompt_ids(prompt, [processor.audio_token_id] * expected.count(processor.audio_token_id)) == expected
    text = processor.apply_chat_template([{"role": "user", "content": content[1:]}], add_generation_prompt=True, tokenize=False)
    assert lessons.prompt_ids(prompt, []) == processor.tokenizer(text)["input_ids"]


def test_audio_tokens_match_the_features(lessons, processor):
    batch = lessons.batch(np.random.default_rng(0), 8, 3, "audio")
    frames = batch.inputs["feature_attention_mask"].sum(1)
    tokens = (batch.inputs["input_ids"] == processor.audio_token_id).sum(1)
    assert torch.equal(tokens, ((frames - 1) // 2 - 1) // 2 + 1)
    assert torch.equal((batch.words_at != IGNORE).sum(1), tokens)
    assert (batch.words_at > 0).any(1).all()


def test_spelled_words_stand_where_they_are_said(lessons, processor):
    """The first phase reads the same layout as audio, with the words' own tokens in it."""
    heard, spelled = (lessons.batch(np.random.default_rng(2), 8, 3, mode) for mode in ("audio", "words"))
    assert "input_features" not in spelled.inputs
    for ids, words_at in zip(spelled.inputs["input_ids"], spelled.words_at, strict=True):
        start = ids.tolist().index(processor.tokenizer.convert_tokens_to_ids("<|audio_bos|>")) + 1
        said = words_at[words_at != IGNORE]
        expected = [lessons.word_ids[word - 1][0] if word else processor.audio_token_id for word in said.tolist()]
        assert ids[start : start + len(said)].tolist() == expected
    tokens = (heard.inputs["input_ids"] == processor.audio_token_id).sum(1)
    assert torch.equal((heard.words_at != IGNORE).sum(1), tokens)


@pytest.mark.parametrize("mode", ["audio", "words", "text", "question"])
def test_only_responses_are_labelled_and_the_mode_decides_what_is_heard(lessons, processor, mode):
    batch = lessons.batch(np.random.default_rng(1), 6, 3, mode)
    assert ("input_features" in batch.inputs) == (mode == "audio")
    for ids, labels in zip(batch.inputs["input_ids"], batch.labels, strict=True):
        said = processor.tokenizer.decode(labels[labels != IGNORE])
        read = processor.tokenizer.decode(ids[(labels == IGNORE) & (ids != processor.tokenizer.pad_token_id)])
        assert said.startswith("<think>") and said.endswith("</answer><|im_end|>")
        transcript = said.split(" </think>")[0].removeprefix("<think> ")
        assert (f"transcript: {transcript}. " in read) == (mode == "text")


def test_a_batch_hangs_on_its_generator_alone(lessons):
    one = lessons.batch(np.random.default_rng(5), 4, 3, "audio")
    lessons.batch(np.random.default_rng(6), 4, 3, "text")
    assert same(one, lessons.batch(np.random.default_rng(5), 4, 3, "audio"))
    assert not same(one, lessons.batch(np.random.default_rng(7), 4, 3, "audio"))


def test_words_are_marked_where_they_are_said(lessons):
    spoken = Spoken("tones", ["tree", "boat"], np.zeros(RATE, np.float32), [0.1, 0.5], [0.3, 0.8])
    marks = lessons.frame_words(spoken, 25, 1.0).tolist()
    tree, boat = (1 + lessons.vocabulary.index(word) for word in ("tree", "boat"))
    assert marks[3:7] == [tree] * 4 and marks[13:19] == [boat] * 6 and marks[0] == marks[9] == marks[24] == 0
    assert lessons.frame_words(spoken, 25, 0.5).tolist().count(boat) == 4


def test_a_faster_voice_is_shorter_and_higher():
    wave = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE).astype(np.float32)
    fast = at_speed(wave, 1.2)
    peak = np.argmax(np.abs(np.fft.rfft(fast))) * RATE / len(fast)
    assert len(fast) == int(RATE / 1.2) and abs(peak - 360) < 3
