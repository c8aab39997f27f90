"""Chains of corruptions in curriculum files: what is read, and every mistake named."""

from pathlib import Path

import numpy as np
import pytest

from tasks.common.errors import UserError
from tasks.mix.chains import read_chains

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "curriculum.yaml"
    path.write_text(text)
    return str(path)


def test_mix_the_files_of_the_catalog_are_right() -> None:
    plain = read_chains(str(ROOT / "catalogs/curricula/plain.yaml"))
    assert not plain.noise and not plain.speech
    din = read_chains(str(ROOT / "catalogs/curricula/din.yaml"))
    assert 0.4 < sum(chain.share for chain in din.noise) < 0.7 and len(din.speech) > 3


def test_mix_a_chain_draws_what_its_steps_draw(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "corruptions: {noise: [{share: 0.2, source: {noises: {count: [2, 2]}}, envelope: partial, effects: [mulaw, {mp3: {kbps: [16]}}, mulaw]}]}",
    )
    (chain,) = read_chains(path).noise
    names: list[str] = []

    def uniform(name: str) -> np.ndarray:
        names.append(name)
        return np.array([0.1, 0.9])

    first, second = chain.draw(uniform, 2)
    assert [step["name"] for step in first["effects"]] == ["mulaw", "mp3", "mulaw"] and first["effects"][1]["kbps"] == 16
    assert first["source"]["name"] == "noises" and first["source"]["count"] == 2 and first["envelope"]["share"] < second["envelope"]["share"]
    assert len(set(names)) == len(names), "no two draws share their numbers"


MISTAKES = {
    "corruptons: {}": "unknown key 'corruptons'. Did you mean 'corruptions'",
    "corruptions: {noise: [{share: 1.5}]}": "corruptions.noise[0]: 'share' is 1.5",
    "corruptions: {noise: [{share: 0.1, efects: [mp3]}]}": "unknown key 'efects'. Did you mean 'effects'",
    "corruptions: {noise: [{share: 0.1, effects: [mp4]}]}": "corruptions.noise[0].effects[0]: unknown corruption 'mp4'. Did you mean 'mp3'",
    "corruptions: {noise: [{share: 0.1, effects: [{mp3: {kpbs: [16]}}]}]}": "unknown key 'kpbs'. Did you mean 'kbps'",
    "corruptions: {noise: [{share: 0.1, effects: [{mp3: {kbps: [17]}}]}]}": "'kbps.0' is 17",
    "corruptions: {noise: [{share: 0.1, effects: [[mp3]]}]}": "['mp3'] is no step",
    "corruptions: {noise: [{share: 0.1, source: mp3}]}": "unknown corruption 'mp3'. Known: babble",
    "corruptions: {noise: [{share: 0.1}]}": "the chain changes nothing",
    "corruptions: {noise: [{share: 0.6, effects: [mp3]}, {share: 0.6, effects: [gsm]}]}": "the shares sum to 1.2",
    "corruptions: {noise: [{share: 0.1, source: babble}]}": "source 'babble' is made of speech",
    "corruptions: {speech: [{share: 0.1, source: noises}]}": "source 'noises' is made of noise clips",
    "corruptions: {speech: [{share: 0.1, envelope: partial, effects: [mp3]}]}": "envelope 'partial' has nothing to shape",
    "corruptions: {speech: [{share: 0.1, effects: [mp3]}, {share: 0.2, effects: [mp3]}]}": "the same chain is listed twice",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mix_a_mistake_in_a_chain_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as error:
        read_chains(write(tmp_path, text))
    assert MISTAKES[text] in str(error.value)
