"""The see stage: the noise subspaces of a model's audio encoder, one basis a noise type and one of all types together."""

import json

import torch

from tasks.common.cli import Counts
from tasks.common.fanout import progress
from tasks.common.params import load
from tasks.common.sha256sums import write_sums
from tasks.common.tables import prune, write_text
from tasks.engines.base import model_revision
from tasks.engines.transformers_engine import TransformersGenerator
from tasks.see.basis import MIXED, SEE, Basis, basis_path, save_basis
from tasks.see.calibrate import layers_of, means, paired_basis, provenance, published_basis
from tasks.see.directions import distances
from tasks.see.material import draw, mixtures
from tasks.see.params import SeeParams

LAYERS = "layers.json"


def run() -> Counts:
    """Write models/see: a basis a noise type, `mixed`, and layers.json, which says how each came about."""
    params = load("see", SeeParams)
    revision = model_revision(params.model)
    generator = TransformersGenerator(params.model)
    material = draw(params.clips, generator.window_s)
    names = sorted(material.noise)
    origin = {"model": str(params.model), "revision": revision, "clips": material.key}
    bases: dict[str, Basis] = {}
    with progress(1 + 2 * len(names) + 1, "see", "set") as bar:
        speech = means(generator, material.speech)
        bar.update()
        noise = {}
        for name in names:
            noise[name] = means(generator, material.noise[name])
            bar.update()
        for name, types in [*((name, [name]) for name in names), (MIXED, names)]:
            clean = {layer: rows.repeat(len(types), 1) for layer, rows in speech.items()}
            alone = {layer: torch.cat([noise[one][layer] for one in types]) for layer in speech}
            measured = {layer: distances(clean[layer], alone[layer]) for layer in speech}
            layers, how = layers_of(name, measured, params)
            if params.form == "published":
                basis = published_basis(name, clean, alone, layers, params)
            else:
                noisy = [mixtures(material, one, params.snr_db) for one in types]
                basis = paired_basis(generator, material.speech, noisy, layers, params.rho)
            bases[name] = Basis(basis.layers, origin | provenance(name, basis, measured, how, params), basis.readers, basis.offsets)
            bar.update()

    paths = {name: basis_path(None if name == MIXED else name) for name in bases}
    for name, basis in bases.items():
        save_basis(basis, paths[name])
    write_text(SEE / LAYERS, json.dumps({name: _readable(basis) for name, basis in bases.items()}, indent=1) + "\n")
    prune(SEE, {path.name for path in paths.values()}, "*.safetensors")
    write_sums(SEE)
    return Counts(done={"bases": len(bases)})


def _readable(basis: Basis) -> dict[str, object]:
    lists = ("layers", "ranks", "M", "D", "snr_db")
    return {key: json.loads(value) if key in lists else value for key, value in sorted(basis.meta.items())}
