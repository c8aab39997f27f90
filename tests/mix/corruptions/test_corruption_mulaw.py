"""G.711: about 38 dB of signal over quantisation noise (38.05 in theory, for the smooth law), at whatever level the clip came."""

import numpy as np
import pytest

from tasks.mix.corruptions import mulaw
from tasks.mix.corruptions.codec import CODER
from tests.mix.corruptions.material import rng, snr_db, speech


@pytest.mark.parametrize("law", ["mu", "a"])
@pytest.mark.parametrize("scale", [1.0, 0.05, 0.0005])
def test_mulaw_snr_is_about_38_db(law: mulaw.Law, scale: float) -> None:
    clean = (scale * rng().standard_normal(32_000)).astype(np.float32)
    assert snr_db(clean, mulaw.apply(clean, rng(), law=law, coder=CODER)) == pytest.approx(38.0, abs=1.2)


def test_mulaw_has_few_steps() -> None:
    clean = speech()
    steps = {law: len(set(mulaw.apply(clean, rng(), law=law, coder=CODER).tolist())) for law in ("mu", "a")}
    assert all(64 < count <= 256 for count in steps.values())
