"""dinproof card: a trained model as a folder to upload, with a model card in the hub's metadata format."""

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.common.errors import UserError
from tasks.common.markdown import fenced, plain, table
from tasks.common.params import all_params
from tasks.common.tables import read_rows
from tasks.evaluate.params import BASE
from tasks.lineage.edges import Heard

HELP = "a model with its card (data, licences, metrics, limits, loading) as a folder to upload"
EXAMPLES = """examples:
  dinproof card caad --out exports/caad
  dinproof card --out exports/models   # every model, a folder each
  hf upload <name> exports/caad        # publishes it; the hub's own command"""
METRICS, MODELS = Path("reports/metrics.json"), Path("models")
CORPORA, RESULTS = Path("data/catalog/corpora.parquet"), Path("reports/results.parquet")
# What a reader wants first; all of a method's metrics are in metrics.json beside the card.
HEADLINE = {
    "acc_clean": "accuracy on clean speech",
    "acc_noisy": "accuracy in noise",
    "gsr": "noisy answers that equal its own clean answer (GSR)",
    "acc_silence": "accuracy on silence: what is right without hearing",
    "acc_text_only": "accuracy without audio",
    "acc_majority": "accuracy of the commonest answer",
    "acc_conflict": "accuracy with a wrong transcript in the question",
    "wer_noisy": "word error rate in noise",
    "ece_noisy": "expected calibration error in noise",
}
IN_HEADER = ("acc_clean", "acc_noisy", "gsr")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The method, and where the folder goes."""
    parser.add_argument("method", metavar="METHOD", nargs="?", help="a folder below models/, such as caad; every one with a record, where left out")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; an earlier one of ours is replaced")


def run(args: argparse.Namespace) -> int:
    """Write the folder, or one a model. Raises UserError where there is no such model, or what it was made from is not known."""
    if args.method:
        _write(args.method.removeprefix("models/").strip("/"), args.out)
        return 0
    written, why = 0, []
    for path in sorted(MODELS.glob("*/config.json")):
        try:
            _write(path.parent.name, args.out / path.parent.name)
            written += 1
        except UserError as error:
            why.append(f"no card: {error}")
    print("\n".join([*why, f"{written} of {written + len(why)} models have their card"]))
    return 1 if why or not written else 0


def _write(method: str, out: Path) -> None:
    """models/<method> with its card as the folder `out`."""
    from tasks.export.folder import ABOUT, MADE_BY, whole_folder

    model = MODELS / method
    if not (model / "config.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in MODELS.glob("*/config.json")))
        raise UserError(f"dinproof card {method}", f"no model in {model}", f"Here are: {known}" if known else "Train one: make curriculum")
    text = card(method)
    metrics = _metrics(method)
    with whole_folder(out) as root:
        for path in sorted(model.rglob("*")):
            if path.is_file() and path.name != "README.md":
                target = root / path.relative_to(model)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        (root / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        (root / "README.md").write_text(text, encoding="utf-8")
        (root / ABOUT).write_text(json.dumps({"made_by": MADE_BY, "model": method}, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {model} with its card")


def card(method: str) -> str:
    """README.md of models/<method>: from its lineage, dvc.lock and reports/. Raises UserError where what it was made from is not known."""
    from flows.command.recorded import recorded_lineage
    from tasks.lineage.trace import trace

    folder = f"models/{method}"
    lineage, models, unknown = recorded_lineage()
    heard = next((model for model in models if model.folder == folder), None)
    if heard is None or any(line.startswith(f"{folder}:") for line in unknown):
        why = next((line.partition(": ")[2] for line in unknown if line.startswith(f"{folder}:")), "no stage of dvc.lock made it")
        raise UserError(folder, why, "A card states what is known: dvc fetch, or dvc repro, then try again")
    back = trace(lineage, [("model", folder)], forward=False).reached
    metrics = _metrics(method)
    config = json.loads((MODELS / method / "config.json").read_text(encoding="utf-8"))
    settings = {name: value for model in models if model.folder == folder for name, value in model.parameters.items()}
    starts = ", ".join(path for path in sorted(heard.read) if path.startswith("models/"))
    counted = [(len(back.get(kind, [])), words) for kind, words in (("file", "corpus file"), ("clip", "clip"), ("mixture", "mixture"))]
    counts = ", ".join(f"{count} {words}{'s' * (count != 1)}" for count, words in counted)
    words = {"tasks.training": [method], "tasks.training.average": [method, *(Path(run).name for run in heard.read)]}.get(heard.module, [])
    command = " ".join([f"python -m {heard.module}", *words])
    if method.endswith(".retrained"):
        command = "python -m flows.retrain"
    return f"""---
{_header(method, metrics, _source(models))}
---
# {method}

A {config.get("architectures", ["model"])[0]} that answers questions about speech in noise, made by Dinproof{f" from {starts}" if starts else ""}
with `{command}`. {_base(models)}.

## Load it
{_loading(config, (MODELS / method / "adapter").is_dir())}

## Data
{counts}, counting what the models it starts from heard.

{_corpora(back.get("corpus", []))}

## Licences
{plain(", ".join(back.get("licence", []))) or "None: nothing recorded was heard."}

Those are the licences of the recordings behind the model and behind what it started from. Under which licence the weights are published is for
who publishes them to decide, within those; the header says `other` until then.

## Metrics
{_table(metrics)}

## Limits
{_limits(method, metrics)}

## Settings
{fenced(_settings(settings), "yaml")}
"""


def _header(method: str, metrics: Mapping[str, Any], source: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="audio-text-to-text",
            dataset_type="dinproof",
            dataset_name=f"Dinproof curriculum, profile {all_params()['profile']}",
            dataset_split="test",
            metric_type="wer" if name.startswith("wer") else "accuracy",
            metric_name=HEADLINE[name],
            metric_value=metrics[name]["value"],
        )
        for name in IN_HEADER
        if name in metrics and metrics[name]["value"] is not None
    ]
    data = ModelCardData(
        license="other",
        license_name="see-licences-of-the-data",
        license_link="README.md#licences",
        library_name="transformers",
        pipeline_tag="audio-text-to-text",
        tags=["audio", "speech-in-noise", "dinproof"],
        model_name=method,
        base_model=source.partition("@")[0]
        if source and re.fullmatch(r"[\w-]+(\.[\w-]+)*/[\w.-]+(@\S+)?", source) and not Path(source).exists()
        else None,
        eval_results=results or None,
    )
    text: str = data.to_yaml()
    return text.strip()


def _source(models: Sequence[Heard]) -> str | None:
    """`backbone.from` as recorded: a folder, or a name on the hub; a profile is laid over params.yaml, so what it says holds."""
    sources = [
        str(value)
        for model in models
        if model.module == "tasks.backbone"
        for name, value in sorted(model.parameters.items())  # params.yaml comes before profiles/
        if name.endswith(" backbone.from") and value is not None
    ]
    return sources[-1] if sources else None


def _base(models: Sequence[Heard]) -> str:
    """Where the weights began."""
    source = _source(models)
    return f"The backbone is {source}" if source else "The backbone was trained from random weights on the words of the catalog"


def _loading(config: Mapping[str, Any], adapter: bool) -> str:
    name = config.get("architectures", ["AutoModel"])[0]
    note = "\nThe LoRA weights alone are in `adapter/`; those of this folder have them merged in.\n" if adapter else ""
    return f"""```python
import soundfile
from transformers import AutoProcessor, {name}

processor = AutoProcessor.from_pretrained("<this folder>")
model = {name}.from_pretrained("<this folder>")
audio, rate = soundfile.read("speech.wav", dtype="float32")  # mono, 16 kHz
asked = {{"role": "user", "content": [{{"type": "audio"}}, {{"type": "text", "text": "first word? options: dog, fish"}}]}}
prompt = processor.apply_chat_template([asked], add_generation_prompt=True, tokenize=False)
inputs = processor(text=prompt, audio=[audio], sampling_rate=rate, return_tensors="pt")
print(processor.batch_decode(model.generate(**inputs, max_new_tokens=24)[:, inputs["input_ids"].shape[1] :])[0])
```
{note}"""


def _corpora(names: Sequence[str]) -> str:
    rows = {row["corpus"]: row for row in read_rows(CORPORA)} if CORPORA.is_file() else {}
    lines = []
    for name in names:
        row = rows.get(name)
        cells = [", ".join(row["licences"]), row["citation"], row["source"]] if row else ["no longer catalogued", "", ""]
        lines.append([name, *cells])
    return table(["corpus", "licences", "cite", "source"], lines) if lines else "None."


def _metrics(method: str) -> dict[str, Any]:
    """What the evaluation measured of a model; {} where it was not asked. The backbone is evaluated as the base."""
    known = json.loads(METRICS.read_text(encoding="utf-8")) if METRICS.is_file() else {}
    found: dict[str, Any] = known.get(BASE if method == "backbone" else method, {})
    return found


def _table(metrics: Mapping[str, Any]) -> str:
    lines = [
        [words, f"{metrics[name]['value']:.3f}", "{:.3f} to {:.3f}".format(*metrics[name]["ci95"])]
        for name, words in HEADLINE.items()
        if name in metrics and metrics[name]["value"] is not None
    ]
    if not lines:
        return "Not evaluated."
    note = "On the test split, of speakers, noise clips and rooms that were not trained on; intervals by bootstrap. All metrics: `metrics.json`."
    return f"{table(['metric', 'value', '95 % interval'], lines)}\n\n{note}"


def _limits(method: str, metrics: Mapping[str, Any]) -> str:
    """What the evaluation shows it cannot do, and where nobody looked."""
    lines = []
    tested = read_rows(RESULTS, ["noise_type", "snr_db"], [("method", "=", BASE if method == "backbone" else method)]) if RESULTS.is_file() else []
    if levels := [row["snr_db"] for row in tested if row["snr_db"] is not None]:
        types = ", ".join(sorted({row["noise_type"] for row in tested if row["snr_db"] is not None}))
        lines.append(f"- Tested in {types or 'no noise'} at {min(levels):g} to {max(levels):g} dB SNR; of other noises and levels nothing is known.")
    for name, words in (("acc_text", "reads the transcript instead of hearing the speech"), ("acc_background", "names the noise")):
        if name in metrics and metrics[name]["value"] is not None:
            lines.append(f"- Right in {100 * metrics[name]['value']:.1f} % of the questions when it {words}.")
    if "parse_rate" in metrics and metrics["parse_rate"]["value"] is not None:
        lines.append(f"- {100 * (1 - metrics['parse_rate']['value']):.1f} % of its responses hold no answer that can be read.")
    lines.append("- It answers multiple-choice questions of the forms it was trained on; free conversation was not measured.")
    return "\n".join(lines)


def _settings(parameters: Mapping[str, Any]) -> str:
    import yaml

    by_file: dict[str, dict[str, Any]] = {}
    for name, value in parameters.items():
        file, _, key = name.partition(" ")
        by_file.setdefault(file, {})[key] = value
    return yaml.safe_dump(by_file, sort_keys=True, allow_unicode=True).strip()
