"""What the author reads: a Jinja template filled with an item and what the catalog knows about its clip."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from tasks.common.errors import UserError

# Of the catalog's columns, those that describe what is heard; the rest is bookkeeping.
DESCRIBING = ("speaker", "noise_type", "duration_s")
# Of a clip's metadata, what describes nothing: ids, and the answers to a corpus's other questions.
NOT_HEARD = ("questions", "word_clips")
_FIELDS = ("task", "question", "options", "answer", "transcript")


def load_template(path: Path) -> Template:
    """The template of a file; raises UserError where there is none or it does not parse."""
    environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.from_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(path), "no such prompt template", "Correct pseudo_gt.author.prompt") from None
    except TemplateSyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}", f"not a Jinja template ({error.message})", "Correct the template") from None


def metadata_of(clip: Mapping[str, Any]) -> dict[str, Any]:
    """What the catalog knows about a clip: its metadata, and the describing columns that are set."""
    metadata = {name: value for name, value in json.loads(clip["metadata"] or "{}").items() if name not in NOT_HEARD}
    return metadata | {name: clip[name] for name in DESCRIBING if clip.get(name) is not None}


def render(template: Template, path: Path, item: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The prompt of one item; raises UserError naming the template and the field that is missing."""
    try:
        return template.render({name: item[name] for name in _FIELDS}, metadata=metadata).strip()
    except TemplateError as error:
        known = ", ".join([*_FIELDS, *(f"metadata.{name}" for name in sorted(metadata))])
        raise UserError(str(path), f"item {item['item_id']}: {error.message}", f"Known fields: {known}") from None
