"""Who is asked: a model, the seed it was trained with, and the front end it hears through.

A method of the parameters is `base` (models/backbone), the name of any `from_pretrained` folder below models/, or such a name with a seed
(`caad@1` is models/caad@1, another seed of `caad`). With a front end it is a method of its own, `caad+seen`: `seen` takes the noise
directions of models/see/mixed.safetensors out of the encoder while it hears, a denoiser of tasks.denoise works on the waveform before it.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import tasks.denoise
import tasks.see
from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.common.params import all_params, load
from tasks.common.seeds import content_id, file_sha256
from tasks.common.versions import made_by
from tasks.engines import Generator, model_revision, shared_generator
from tasks.evaluate.params import BASE, EvaluateParams, model_folder
from tasks.see.basis import basis_path, load_basis
from tasks.see.params import SeeParams

SEEN = "seen"


@dataclass(frozen=True)
class System:
    """One that answers.

    Attributes:
        method: what stands in the tables: the folder's name without the seed, with the front end after a plus sign.
        seed: of the model's training.
        model: content id of the model's folder.
        revision: content id of all that its answers depend on, the front end included.
        strength: of SEEN.
    """

    method: str
    seed: int
    folder: Path
    model: str
    revision: str
    front_end: str | None = None
    strength: float = 1.0

    def heard(self, wave: Wave) -> Wave:
        """What reaches the model, (frames,) as long as the input."""
        return wave if self.front_end in (None, SEEN) else tasks.denoise.DENOISERS[str(self.front_end)](wave)

    def hearing(self, generator: Generator) -> AbstractContextManager[None]:
        """The block in which `generator` answers as this system."""
        if self.front_end != SEEN:
            return nullcontext()
        from tasks.engines.transformers_engine import TransformersGenerator
        from tasks.see.seen import seen

        assert isinstance(generator, TransformersGenerator)  # the parameters allow no other engine
        return seen(generator.model, load_basis(basis_path(None)), self.strength)


def systems_of(params: EvaluateParams) -> list[System]:
    """Every method in the order of the parameters, and after each the same behind its front ends.

    Raises UserError for a folder without a model, for two methods that are one model's seed, and for SEEN without a basis.
    """
    systems = []
    strength = load("see", SeeParams).strength if any(SEEN in names for names in params.front_ends.values()) else 1.0
    for name in params.methods:
        folder, (method, _, seed) = model_folder(name), name.partition("@")
        if not (folder / "config.json").is_file():
            raise _no_model(name, folder)
        plain = System(method, int(seed) if seed else seed_of_training(method), folder, revision := model_revision(folder), revision)
        systems.append(plain)
        for front_end in params.front_ends.get(name, ()):
            whole = content_id([revision, front_end, front_end_revision(front_end, strength)])
            systems.append(System(f"{method}+{front_end}", plain.seed, folder, revision, whole, front_end, strength))
    known: dict[tuple[str, int], System] = {}
    for system in systems:
        if (other := known.setdefault((system.method, system.seed), system)) is not system:
            what = f"{other.folder} and {system.folder} are both seed {system.seed} of '{system.method}'"
            raise UserError("evaluate.methods", what, "Leave one of them out, or train it with another seed")
    return systems


def _no_model(name: str, folder: Path) -> UserError:
    if (folder / "adapter_config.json").is_file():
        return UserError(str(folder), "the weights of an adapter alone", "Merge them with peft's merge_and_unload: docs/evaluate.md shows how")
    stage = "tasks.backbone" if name == BASE else f"tasks.training {name}"
    todo = f"Run python -m {stage}, put a from_pretrained folder there, or take '{name}' out of evaluate.methods"
    return UserError(str(folder), "no model here (config.json is missing)", todo)


def seed_of_training(method: str) -> int:
    """The seed that the parameters give a method without one in its name."""
    params = all_params()
    section = (
        params["backbone"].get("training")
        if method == BASE
        else {**(params["training"].get("common") or {}), **(params["training"].get(method) or {})}
    )
    return int((section or {}).get("seed", 0))


def front_end_revision(front_end: str, strength: float) -> str:
    """Content id of a front end: SEEN's basis, strength and code, or the code of the denoisers."""
    if front_end != SEEN:
        return made_by(tasks.denoise.module(front_end))
    basis = basis_path(None)
    if not basis.is_file():
        raise UserError(
            str(basis), "no noise basis here, and SEEN takes out what it names", "Run python -m tasks.see, or take 'seen' out of evaluate.front_ends"
        )
    return content_id([file_sha256(basis), strength, made_by("tasks.see.seen")])


def engine_of(params: EvaluateParams, system: System) -> Generator:
    """The engine of `params` with a system's model; a server that holds several knows each by the name of its folder."""
    options = params.engine_options.model_dump(exclude_defaults=True)
    if params.engine == "openai" and len(params.methods) > 1:
        options.setdefault("served_model", system.folder.name)
    return shared_generator(params.engine, system.folder, system.model, **options)
