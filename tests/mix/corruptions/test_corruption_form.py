"""What every module of the palette promises: draws that are JSON and each row's own, and sound that keeps length, time, scale and silence."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.common.audio import RATE
from tasks.common.params import Section
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.corruptions.form import Range, between, ramp, shares, stretch, whole, within
from tests.mix.corruptions.material import lag, rng, speech, uniform

ROOT = Path(__file__).resolve().parents[3]
MODULES = {**EFFECTS, **ENVELOPES, **SOURCES}
CODECS = {"mp3", "opus", "gsm", "mulaw", "telephone"}


def row(name: str, seed: int) -> dict:
    """One row's values with the parameters that stand when none are given."""
    module = MODULES[name]
    return {key: values[0] for key, values in module.draw(module.Params(), uniform(1, seed)).items()}


@pytest.mark.parametrize("name", MODULES)
def test_corruption_has_a_test_a_page_and_a_yaml_that_holds(name: str) -> None:
    assert (ROOT / f"tests/mix/corruptions/test_corruption_{name}.py").is_file()
    page = (ROOT / f"docs/corruptions/{name}.md").read_text()
    written = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    (chains,) = written["corruptions"].values()
    steps = [step for chain in chains for step in [chain.get("source"), chain.get("envelope"), *chain.get("effects", [])] if step]
    mine = [step for step in steps if name in step]
    assert mine, "the page's example does not use it"
    MODULES[name].Params.model_validate(mine[0][name])
    for link in (f"{name}.png", f"audio/{name}.mp3"):
        assert link in page and (ROOT / "docs/corruptions" / link).is_file()
    for field in MODULES[name].Params.model_fields:
        assert f"`{field}`" in page, f"{field} is not described"


@pytest.mark.parametrize("name", MODULES)
def test_corruption_draws_json_for_every_row_by_itself(name: str) -> None:
    module = MODULES[name]
    drawn = module.draw(module.Params(), uniform(50))
    assert json.loads(json.dumps(drawn)) == drawn and all(len(values) == 50 for values in drawn.values())
    one = module.draw(module.Params(), lambda key: uniform(50)(key)[7:8])
    assert {key: values[0] for key, values in one.items()} == {key: values[7] for key, values in drawn.items()}
    if module.Params.model_fields:
        assert drawn != module.draw(module.Params(), uniform(50, 1)), "nothing is drawn"


@pytest.mark.parametrize("name", EFFECTS)
def test_corruption_effect_keeps_length_time_scale_and_silence(name: str) -> None:
    clean = speech()
    for seed in range(2 if name == "opus" else 5):
        drawn = row(name, seed)
        made = EFFECTS[name].apply(clean, rng(seed), **drawn)
        assert made.shape == clean.shape and made.dtype == np.float32 and np.isfinite(made).all()
        assert np.array_equal(made, EFFECTS[name].apply(clean, rng(seed), **drawn)), "the same draw gives other bits"
        assert abs(lag(made, clean)) <= 3, drawn
        assert not np.allclose(made, clean, atol=1e-4), "nothing happened"
        # A factor of a power of two passes through exactly, so what differs is the effect's own.
        np.testing.assert_allclose(EFFECTS[name].apply(clean * np.float32(0.25), rng(seed), **drawn) * 4, made, atol=1e-4)
    assert not EFFECTS[name].apply(np.zeros(5000, np.float32), rng(), **row(name, 0)).any()


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 1000), st.sampled_from(["tiny", "loud", "impulse"]))
def test_corruption_effect_takes_any_clip(frames: int, seed: int, kind: str) -> None:
    wave = {"tiny": 1e-7, "loud": 50.0, "impulse": 0.0}[kind] * rng(seed).standard_normal(frames).astype(np.float32)
    if kind == "impulse":
        wave[frames // 2] = 1.0
    for name, effect in EFFECTS.items():
        made = effect.apply(wave.astype(np.float32), rng(seed), **row(name, seed))
        assert made.shape == (frames,) and made.dtype == np.float32 and np.isfinite(made).all(), name


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60_000), st.integers(0, 1000))
def test_corruption_envelope_is_finite_and_not_negative(frames: int, seed: int) -> None:
    for name, envelope in ENVELOPES.items():
        gains = envelope.gain(frames, rng(seed), **row(name, seed))
        assert gains.shape == (frames,) and gains.dtype == np.float32 and np.isfinite(gains).all() and gains.min() >= 0 and gains.max() > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30_000), st.integers(0, 1000), st.integers(2, 30_000))  # voices of one sample are 1 or -1, and may cancel
def test_corruption_source_works_with_the_clips_there_are(frames: int, seed: int, clip: int) -> None:
    for name, source in SOURCES.items():
        drawn = row(name, seed)
        wanted = drawn["count"] + (source.POOL == "noise")
        waves = [rng(seed + index).standard_normal(clip).astype(np.float32) for index in range(wanted)]
        full = source.mixdown(waves, frames, **drawn)
        assert full.shape == (frames,) and full.dtype == np.float32 and np.isfinite(full).all() and full.any(), name
        assert source.mixdown(waves[:1], frames, **drawn).any(), name
        assert not source.mixdown([np.zeros(clip, np.float32)] * wanted, frames, **drawn).any(), name


def test_corruption_ranges_run_upwards_within_their_bounds() -> None:
    from typing import Annotated

    class Params(Section):
        level: Annotated[Range, within(-3, 3)]

    assert Params(level=(-3, 3)).level == (-3, 3)
    for wrong in ((2, 1), (-4, 0), (0, 4), (float("nan"), 1)):
        with pytest.raises(ValidationError, match="runs from a lower to a higher"):
            Params(level=wrong)


def test_corruption_draws_reach_both_ends_of_a_range() -> None:
    grid = np.linspace(0, 1, 1001)[:-1]
    assert between(grid, (-2, 2))[0] == -2 and between(grid, (-2, 2))[-1] == pytest.approx(2, abs=0.005)
    assert np.bincount(whole(grid, (3, 5)))[3:].tolist() == [334, 333, 333]
    lists = shares(uniform(3), "x", [2, 0, 1])
    assert [len(values) for values in lists] == [2, 0, 1] and lists[0][0] == round(float(uniform(3)("x0")[0]), 6)


def test_corruption_stretch_and_ramp() -> None:
    clip = np.arange(1, 11, dtype=np.float32)
    assert stretch(clip, 4, 0.0).tolist() == [1, 2, 3, 4] and stretch(clip, 4, 0.999).tolist() == [7, 8, 9, 10]
    assert stretch(clip, 12, 0.5).tolist() == [6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7]
    fade = ramp(20.0)
    assert len(fade) == RATE // 50 and np.allclose(fade + fade[::-1], 1) and (np.diff(fade) > 0).all()
