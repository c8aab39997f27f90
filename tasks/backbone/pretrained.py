"""A pretrained backbone instead of a trained one: its files, copied, because DVC versions the bytes that the references hang on."""

import json
import shutil
from pathlib import Path

from tasks.common.errors import UserError
from tasks.common.tables import write_text

FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")  # what from_pretrained reads; no second copy of the weights in another format


def fetch(source: str, folder: Path) -> None:
    """Copy the model of a local folder, or of the Hugging Face hub (`owner/name` or `owner/name@revision`), to `folder`.

    `train_log.jsonl` says where it came from. Raises UserError where there is no such model.
    """
    shutil.rmtree(folder, ignore_errors=True)
    local = Path(source).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise UserError(f"backbone.from: {source}", "the folder holds no config.json", "Name a from_pretrained folder or a model on the hub")
        folder.mkdir(parents=True)
        for file in sorted({file for pattern in FILES for file in local.glob(pattern)}):
            shutil.copyfile(file, folder / file.name)
        origin = {"from": source}
    else:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        name, _, revision = source.partition("@")
        try:
            path = snapshot_download(name, revision=revision or None, allow_patterns=list(FILES))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise UserError(
                f"backbone.from: {source}", f"no such folder, and the hub did not give it ({type(error).__name__})", "Check the name and the network"
            ) from None
        shutil.copytree(path, folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        origin = {"from": name, "revision": Path(path).name}
    write_text(folder / "train_log.jsonl", json.dumps(origin) + "\n")
