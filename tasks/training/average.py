"""python -m tasks.training.average NAME RUN RUN ...: models/NAME, the mean of the weights of several runs, each a folder of models/.

Runs that start from one backbone and differ in their seed end in one basin: the mean of their weights errs less than any of them, and costs no
more to run (model soups, arXiv 2203.05482). `python -m tasks.training METHOD@SEED` makes the runs.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.common.cli import guarded, setup_logging
from tasks.common.errors import UserError
from tasks.common.tables import publish_folder, temporary_name
from tasks.training.adapters import WEIGHTS

MODELS = Path("models")


def mean_weights(runs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight over the runs, in its own type; sums are float64. Raises ValueError where names or shapes differ."""
    first = runs[0]
    for other in runs[1:]:
        if other.keys() != first.keys() or any(other[name].shape != tensor.shape for name, tensor in first.items()):
            raise ValueError("their weights have other names or shapes")
    return {name: torch.stack([run[name].double() for run in runs]).mean(0).to(tensor.dtype) for name, tensor in first.items()}


def average(folders: Sequence[Path], target: Path) -> None:
    """Write `target`, a `from_pretrained` folder like the first of `folders`, with the mean of their weights.

    Raises UserError for a folder without weights, and for weights that do not fit together.
    """
    for folder in folders:
        if not (folder / WEIGHTS).is_file():
            raise UserError(str(folder), f"no run here ({WEIGHTS} is missing)", f"Make it: python -m tasks.training {folder.name}")
    try:
        weights = mean_weights([load_file(folder / WEIGHTS) for folder in folders])
    except ValueError as error:
        raise UserError(", ".join(map(str, folders)), str(error), "Name runs of one backbone") from None
    fresh = temporary_name(target)
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folders[0], fresh, ignore=shutil.ignore_patterns("*.safetensors", "adapter", "train_log.jsonl", "heard.yaml"))
    save_file(weights, fresh / WEIGHTS, metadata={"format": "pt"})
    (fresh / "train_log.jsonl").write_text(json.dumps({"mean_of": [folder.name for folder in folders]}) + "\n", encoding="utf-8")
    publish_folder(fresh, target)


def main(names: Sequence[str]) -> None:
    """The command."""
    if len(names) < 3 or any(Path(name).name != name for name in names):
        raise UserError("tasks.training.average", "it takes a name and at least two runs, all of them folders of models/", __doc__.partition(":")[0])
    average([MODELS / name for name in names[1:]], MODELS / names[0])


if __name__ == "__main__":
    setup_logging()
    guarded(lambda: main(sys.argv[1:]))
