"""The charts of the report, each from plain rows to an SVG element."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.ticker import MaxNLocator

from tasks.report.svg import COLOURS, GRID, figure, svg_of

Row = Mapping[str, Any]


def colour_of(methods: Sequence[str]) -> dict[str, str]:
    """A colour for every method, in the order they are listed."""
    return {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}


def curve(rows: Sequence[Row], methods: Sequence[str], chance: float) -> str:
    """Accuracy over SNR, a line with its 95 % band for every method; `rows` as in accuracy_over_snr.csv."""
    drawn, axes = figure(6.6, 4.0)
    for method, colour in colour_of(methods).items():
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: row["snr_db"])
        snr = [row["snr_db"] for row in own]
        axes.fill_between(snr, [100 * row["lo"] for row in own], [100 * row["hi"] for row in own], color=colour, alpha=0.18, linewidth=0)
        axes.plot(snr, [100 * row["acc"] for row in own], color=colour, marker="o", markersize=4, linewidth=2, label=method)
    axes.axhline(100 * chance, color=GRID, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "guessing", (1, 100 * chance), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=9
    )
    axes.set(xlabel="SNR over active speech (dB)", ylabel="correct answers (%)", ylim=(0, 102))
    axes.set_xticks(sorted({row["snr_db"] for row in rows}))
    axes.grid(axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(methods))
    return svg_of(drawn, "curve", "Accuracy over SNR for every method")


def heatmap(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """Accuracy by noise type and SNR, a panel a method; `rows` have `method`, `noise_type`, `snr_db`, `acc`."""
    noises = sorted({row["noise_type"] for row in rows})
    levels = sorted({row["snr_db"] for row in rows})
    drawn, panels = figure(1.1 + 3.8 * len(methods), 0.9 + 0.36 * len(noises), columns=len(methods), sharey=True, squeeze=False)
    shades = colormaps["cividis"]
    for axes, method in zip(panels[0], methods, strict=True):
        values = np.full((len(noises), len(levels)), np.nan)
        for row in rows:
            if row["method"] == method:
                values[noises.index(row["noise_type"]), levels.index(row["snr_db"])] = row["acc"]
        axes.pcolormesh(values, cmap=shades, vmin=0, vmax=1, edgecolors="none")
        for (y, x), value in np.ndenumerate(values):
            if not np.isnan(value):
                axes.text(x + 0.5, y + 0.5, f"{100 * value:.0f}", ha="center", va="center", fontsize=9, color="#000000" if value > 0.5 else "#ffffff")
        axes.set_xticks(np.arange(len(levels)) + 0.5, [f"{level:g}" for level in levels])
        axes.set_yticks(np.arange(len(noises)) + 0.5, noises)
        axes.set(title=method, xlabel="SNR (dB)")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.invert_yaxis()
    return svg_of(drawn, "heatmap", "Accuracy by noise type and SNR for every method")


def snr_check(rows: Sequence[Row]) -> str:
    """Measured SNR over the asked one; `rows` have `snr_db`, `snr_db_measured`."""
    drawn, axes = figure(6.4, 3.4)
    levels = sorted({row["snr_db"] for row in rows})
    axes.plot(levels, levels, color=GRID, linewidth=1)
    for level in levels:
        measured = [row["snr_db_measured"] for row in rows if row["snr_db"] == level]
        # Spread sideways, so that equal values do not hide how many they are.
        spread = (np.arange(len(measured)) / max(1, len(measured) - 1) - 0.5) * 1.6
        axes.plot(level + spread, measured, ".", markersize=2.5, alpha=0.6, color=COLOURS[1], rasterized=True)
    axes.set_xticks(levels)
    axes.set_yticks(levels)
    axes.set(xlabel="SNR asked (dB)", ylabel="SNR measured (dB)")
    axes.grid(axis="y")
    return svg_of(drawn, "snr", "Measured over asked SNR of every noisy mixture")


def rt60_check(rows: Sequence[Row]) -> str:
    """Measured reverberation time over the asked one; measured rooms, which were asked nothing, are ticks on the axis."""
    drawn, axes = figure(6.4, 3.4)
    simulated = [row for row in rows if row["rt60_asked_s"] is not None]
    measured = [row["rt60_s"] for row in rows if row["rt60_asked_s"] is None and row["rt60_s"] is not None]
    top = 1.08 * max([row["rt60_s"] or 0.0 for row in rows] + [row["rt60_asked_s"] or 0.0 for row in rows] + [0.1])
    axes.plot([0, top], [0, top], color=GRID, linewidth=1)
    axes.plot(
        [row["rt60_asked_s"] for row in simulated],
        [row["rt60_s"] for row in simulated],
        "o",
        markersize=4,
        alpha=0.8,
        color=COLOURS[1],
        label="simulated",
    )
    if measured:
        axes.plot([0.0] * len(measured), measured, "_", markersize=14, color=COLOURS[2], label="recorded", clip_on=False)
        axes.legend(loc="lower right")
    axes.set(xlabel="RT60 asked (s)", ylabel="RT60 measured (s)", xlim=(0, top), ylim=(0, top))
    axes.grid()
    return svg_of(drawn, "rt60", "Measured over asked reverberation time of every room")


def stages(rows: Sequence[Row]) -> str:
    """Rows of the curriculum by stage and SNR, stacked; `rows` have `stage`, `snr_db`, `n`."""
    names = sorted({row["stage"] for row in rows})
    levels = sorted({row["snr_db"] for row in rows})
    count = {(row["stage"], row["snr_db"]): row["n"] for row in rows}
    longest = max((sum(count.get((name, level), 0) for level in levels) for name in names), default=0)
    drawn, axes = figure(6.6, 0.9 + 0.42 * len(names))
    shades = colormaps["cividis"]
    for place, name in enumerate(names):
        start = 0
        for i, level in enumerate(levels):
            share, n = i / max(1, len(levels) - 1), count.get((name, level), 0)
            axes.barh(place, n, left=start, color=shades(share), height=0.62)
            if n > 0.06 * longest:
                ink = "#000000" if share > 0.5 else "#ffffff"
                axes.text(start + n / 2, place, f"{level:g} dB", ha="center", va="center", fontsize=9, color=ink)
            start += n
    axes.set_yticks(range(len(names)), [str(name) for name in names])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.set(xlabel="training rows", ylabel="stage")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    return svg_of(drawn, "stages", "Rows of the curriculum by stage and SNR")
