"""Files of docs/corruptions: a spectrogram and audio for each page, and one page that holds the whole palette."""

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy import signal

from tasks.common.audio import RATE, Wave
from tasks.common.params import Section
from tasks.common.tables import write_bytes, write_text
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.palette.material import MODULES, Example, example

FOLDER = Path("docs/corruptions")
KINDS: list[tuple[str, str, Any]] = [
    ("effects", "Effects: what happens to the mixture. Heard on speech in faint pink noise (25 dB).", EFFECTS),
    ("envelopes", "Envelopes: how the added sound comes and goes. Heard on speech in pink noise at 5 dB.", ENVELOPES),
    ("sources", "Sources: what is added. Heard under speech at 5 dB.", SOURCES),
]
GREYS = 9  # of a picture, which keeps it small
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 2px solid #1a1a1a; padding-bottom: .3rem; font-size: 1.15rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(520px, 1fr)); gap: 1.5rem; }
article { border: 1px solid #ccc; border-radius: 6px; padding: .8rem 1rem; }
h3 { margin: 0 0 .3rem; } p { margin: .3rem 0; } img, audio { width: 100%; } audio { height: 34px; max-width: 560px; }
code { font-size: .85rem; color: #444; overflow-wrap: anywhere; }
"""


def page_of(name: str) -> tuple[str, str, Section]:
    """Title, first paragraph and the parameters of the YAML example of a page."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    title, paragraph = text.split("\n\n")[:2]
    (chains,) = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["corruptions"].values()
    steps = [step for chain in chains for step in (chain.get("source"), chain.get("envelope"), *chain.get("effects", [])) if step and name in step]
    return title.removeprefix("# "), paragraph, MODULES[name].Params.model_validate(steps[0][name])


def mp3(wave: Wave) -> bytes:
    """Samples as MP3 at 40 kbit/s: small, and the same bytes at every run."""
    file = io.BytesIO()
    sf.write(
        file, np.clip(wave, -1.0, 1.0), RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=(160 - 40) / 152, bitrate_mode="CONSTANT"
    )
    return file.getvalue()


def spectrogram(shown: Example) -> bytes:
    """Before and after side by side, dark on light, 70 dB from white to black, in cells of 20 ms and 100 Hz: large cells keep the file small."""
    figure = Figure(figsize=(7.2, 2.3), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, wave, title in zip(axes, (shown.before, shown.after), ("before", "after"), strict=True):
        _, _, power = signal.stft(wave, RATE, "hann", nperseg=320, noverlap=0, nfft=320)
        cells = np.maximum(np.square(np.abs(power[:-1])).reshape(80, 2, -1).mean(axis=1), 1e-12)
        axis.imshow(
            10.0 * np.log10(cells),
            aspect="auto",
            origin="lower",
            extent=(0.0, len(wave) / RATE, 0.0, 8.0),
            cmap="Greys",
            vmin=-100,
            vmax=-30,
            interpolation="nearest",
        )
        axis.set_xlabel("s", labelpad=0)
        axis.set_title(title, fontsize=10)
    axes[0].set_ylabel("kHz")
    canvas.draw()
    grey = np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L"))
    picture = Image.fromarray(np.round(np.round(grey / 255.0 * (GREYS - 1)) * 255.0 / (GREYS - 1)).astype(np.uint8)).quantize(GREYS)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def embedded(data: bytes, kind: str) -> str:
    """Bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def card(name: str, title: str, paragraph: str, shown: Example, picture: bytes, sound: bytes) -> str:
    """One corruption on the page of the whole palette."""
    words = re.sub("`(.+?)`", r"<code>\1</code>", html.escape(paragraph))
    values = {key: value for key, value in shown.drawn.items() if key != "coder"}
    return (
        f'<article id="{name}"><h3>{html.escape(title)}</h3><p>{words}</p>'
        f'<img alt="spectrograms before and after {name}" src="{embedded(picture, "image/png")}">'
        f'<audio controls preload="none" src="{embedded(sound, "audio/mpeg")}"></audio>'
        f"<p><code>{html.escape(name)} {html.escape(json.dumps(values))}</code></p></article>"
    )


def write_pages() -> None:
    """Pictures, audio and index.html of docs/corruptions; the texts come from the pages themselves."""
    sections = []
    for kind, heading, modules in KINDS:
        cards: list[str] = []
        before = b""
        for name in modules:
            title, paragraph, params = page_of(name)
            shown = example(name, params)
            picture, sound, before = spectrogram(shown), mp3(shown.after), mp3(shown.before)
            write_bytes(FOLDER / f"{name}.png", picture)
            write_bytes(FOLDER / "audio" / f"{name}.mp3", sound)
            cards.append(card(name, title, paragraph, shown, picture, sound))
        write_bytes(FOLDER / "audio" / f"before_{kind}.mp3", before)
        player = f'<p>Before: <audio controls preload="none" src="{embedded(before, "audio/mpeg")}"></audio></p>'
        sections.append(f'<h2>{html.escape(heading)}</h2>{player}<div class="cards">{"".join(cards)}</div>')
    intro = (
        "Each corruption of a mixture, drawn once from the example of its page. Spectrograms show 0 to 8 kHz over 70 dB, the same scale everywhere, "
        "louder is darker. Speech is espeak-ng, noise and music are generated; the audio here is MP3 at 40 kbit/s, data in a build is 16-bit FLAC."
    )
    body = f"<h1>The palette of corruptions</h1><p>{intro}</p>{''.join(sections)}"
    head = f'<meta charset="utf-8"><title>The palette of corruptions</title><style>{STYLE}</style>'
    write_text(FOLDER / "index.html", f'<!doctype html><html lang="en">{head}<body>{body}</body></html>\n')
