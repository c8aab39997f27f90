"""What each corruption costs: CPU time on a 10 s clip, beside what it is, as the table of docs/corruptions/README.md."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.common.audio import RATE, Wave
from tasks.common.seeds import rng_of
from tasks.common.tables import write_text
from tasks.mix.corruptions import EFFECTS, ENVELOPES
from tasks.mix.palette.material import MODULES, added, noises, others, speech
from tasks.mix.palette.pages import FOLDER, KINDS, page_of

START, END = "<!-- table: python -m tasks.mix.palette --time -->\n", "<!-- end of table -->\n"
SECONDS, REPEATS = 10, 9
Work = Callable[[np.random.Generator, dict[str, Any]], Any]


def cpu_ms(work: Work, name: str) -> float:
    """Median CPU time of `work` over nine draws with the parameters that stand when none are given, after one to warm up."""
    module = MODULES[name]
    drawn = module.draw(module.Params(), lambda key: rng_of("palette", "time", name, key).random(REPEATS + 1))
    took = []
    for index in range(REPEATS + 1):
        values = {key: column[index] for key, column in drawn.items()}
        rng = rng_of("palette", "time", name, index)
        start = time.process_time()
        work(rng, values)
        took.append(1000.0 * (time.process_time() - start))
    return statistics.median(took[1:])


def work_of(name: str, mixture: Wave, pools: dict[str, list[Wave]]) -> Work:
    """The work function of a corruption, on a clip as long as `mixture`."""
    module, frames = MODULES[name], len(mixture)
    if name in EFFECTS:
        return lambda rng, drawn: module.apply(mixture, rng, **drawn)
    if name in ENVELOPES:
        return lambda rng, drawn: module.gain(frames, rng, **drawn)
    return lambda _, drawn: module.mixdown(pools[module.POOL], frames, **drawn)


def table() -> str:
    """The palette as a Markdown table."""
    clean = speech(SECONDS * RATE)
    clips = [np.resize(wave, len(clean)) for wave in noises()]
    mixture, pools = added(clean, clips[1], 10.0), {"speech": others(8), "noise": clips}
    lines = ["| corruption | kind | what it is | CPU ms for 10 s |", "|---|---|---|---:|"]
    for kind, _, modules in KINDS:
        for name in modules:
            cost = cpu_ms(work_of(name, mixture, pools), name)
            lines.append(f"| [`{name}`]({name}.md) | {kind.removesuffix('s')} | {page_of(name)[0]} | {'< 0.1' if cost < 0.1 else f'{cost:.1f}'} |")
    return "\n".join(lines) + "\n"


def write_table() -> None:
    """Put the table into docs/corruptions/README.md, and print it."""
    path = FOLDER / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(START)
    made = table()
    write_text(path, f"{before}{START}{made}{END}{rest.split(END)[1]}")
    print(made, end="")
