"""Figures as SVG: well formed, the page's colours, real text, the same bytes twice."""

from xml.etree import ElementTree

import pytest

from tasks.report import charts
from tasks.report.svg import INK, alone

NASTY = "<b>&$\\frac"
CURVE = [{"method": method, "snr_db": snr, "acc": 0.5, "lo": 0.4, "hi": 0.6} for method in ("base", NASTY) for snr in (-5.0, 0.0, 5.0)]
HEAT = [{"method": method, "noise_type": NASTY, "snr_db": snr, "acc": 0.1 * i} for method in ("base", NASTY) for i, snr in enumerate((-5.0, 5.0))]


@pytest.mark.parametrize("draw", [lambda: charts.curve(CURVE, ["base", NASTY], 0.25), lambda: charts.heatmap(HEAT, ["base", NASTY])])
def test_hostile_names_and_colours(draw: "object") -> None:
    assert callable(draw)
    svg = draw()
    assert draw() == svg
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert NASTY in texts
    assert INK not in svg and "currentColor" in svg


def test_heatmap_writes_each_value_and_leaves_unknown_cells_empty() -> None:
    rows = [{"method": "base", "noise_type": noise, "snr_db": snr, "acc": acc} for noise, snr, acc in (("hum", 0.0, 0.37), ("rain", 5.0, 0.92))]
    texts = [
        "".join(element.itertext()) for element in ElementTree.fromstring(charts.heatmap(rows, ["base"])).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"37", "92"} <= set(texts) and "nan" not in texts


def test_a_file_of_its_own_has_a_size_and_both_schemes() -> None:
    text = alone(charts.curve(CURVE, ["base"], 0.25))
    root = ElementTree.fromstring(text.encode())
    assert float(root.attrib["width"]) > float(root.attrib["height"]) > 100
    assert "prefers-color-scheme:dark" in text
