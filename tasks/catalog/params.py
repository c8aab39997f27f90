"""A catalog entry (catalogs/<kind>/<name>.yaml) and the section `catalog` of params.yaml, strict."""

import difflib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tasks.catalog.compose import GAP_S, LEAD_S, MAX_S
from tasks.catalog.entry_keys import Expected, Questions, Table, Transcript, compiled, spdx
from tasks.common.errors import UserError
from tasks.common.params import Section, read_yaml, validate

CATALOGS = Path("catalogs")
Kind = Literal["speech", "noise", "rooms", "questions"]
SplitName = Literal["train", "validation", "test"]
KINDS: tuple[Kind, ...] = ("speech", "noise", "rooms", "questions")
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class CatalogParams(Section):
    """The corpora of a build, by kind; the speakers kept for test where that differs from the entry's own; what may be used.

    `allow_licences` names SPDX licences; empty allows all. `max_quarantine_share` is the share of damaged recordings that stops the build.
    """

    speech: list[str]
    noise: list[str]
    rooms: list[str]
    questions: list[str] = Field(default_factory=list)
    holdout_speakers: dict[str, list[str]] = Field(default_factory=dict)
    allow_licences: list[str] = Field(default_factory=list)
    max_quarantine_share: float = Field(default=0.2, ge=0.0, le=1.0)

    @field_validator("allow_licences")
    @classmethod
    def _spdx(cls, value: list[str]) -> list[str]:
        return [spdx(name) for name in value]


class Split(Section):
    """Which recordings train, validate and test: by the values of one field, so that no value lies in two splits.

    `test` is a list of values or a share, drawn by each value's own hash among the values that no list names; `validation` likewise,
    by `validation_field` where it is given. Field `position` cuts each file into contiguous blocks instead.
    """

    field: str
    test: list[str] | float
    validation: list[str] | float
    validation_field: str | None = None

    @field_validator("test", "validation")
    @classmethod
    def _share(cls, value: list[str] | float) -> list[str] | float:
        if isinstance(value, float) and not 0.0 <= value < 1.0:
            raise ValueError("a share lies between 0 and 1")
        return value

    @model_validator(mode="after")
    def _blocks(self) -> "Split":
        if self.field == "position" and not (isinstance(self.test, float) and isinstance(self.validation, float)):
            raise ValueError("a split by position takes shares, not lists")
        if self.validation_field is None and sum(share for share in (self.test, self.validation) if isinstance(share, float)) >= 1.0:
            raise ValueError("the shares of test and validation leave nothing to train on")
        return self


class Compose(Section):
    """How single words become utterances: how many words, how far apart (seconds), how many utterances a split."""

    words: tuple[int, int]
    gap_s: tuple[float, float] = GAP_S
    lead_s: tuple[float, float] = LEAD_S
    max_s: float = MAX_S
    utterances: dict[SplitName, int]

    @model_validator(mode="after")
    def _ranges(self) -> "Compose":
        if not 1 <= self.words[0] <= self.words[1]:
            raise ValueError("words is a range of counts, from 1 up")
        if not (0 <= self.gap_s[0] <= self.gap_s[1] and 0 <= self.lead_s[0] <= self.lead_s[1] < self.max_s):
            raise ValueError("gap_s and lead_s are ranges of seconds, and the lead ends before max_s")
        return self


class Entry(Section):
    """One corpus. `pattern` matches paths below `root`; its named groups, the columns of tables and manifests and the metadata of
    Parquet rows are the fields that `text`, `speaker`, `noise_type`, `licence_field`, `labels` and `split` name.

    Files that match `skip` are no part of the corpus. `strip` is what absolute paths of a published manifest begin with.
    """

    corpus: str
    kind: Kind
    layout: Literal["folder", "table", "kaldi", "lhotse", "huggingface", "parquet", "sofa"]
    root: str
    pattern: str = ".+"
    skip: str | None = None
    table: Table | None = None
    manifests: list[str] = Field(default_factory=list)
    strip: str = ""
    audio: str | None = None
    transcript: Transcript | None = None
    questions: Questions | None = None
    labels: dict[str, dict[str, str]] = Field(default_factory=dict)
    unit: Literal["word", "utterance"] | None = None
    text: str | None = None
    speaker: str = "speaker"
    noise_type: str = "noise_type"
    compose: Compose | None = None
    split: Split
    segment_s: float | None = Field(default=None, gt=0)
    duration_s: tuple[float, float]
    licence: str
    licences: dict[str, str] = Field(default_factory=dict)
    licence_field: str | None = None
    source: str
    citation: str
    expected: Expected | None = None
    fetch: str = ""

    @field_validator("pattern", "skip")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            compiled(value)
        return value

    @field_validator("root")
    @classmethod
    def _below_corpora(cls, value: str) -> str:
        parts = PurePosixPath(value).parts
        if value.startswith("/") or ".." in parts or parts[:1] == ("data",):
            raise ValueError("a folder below the corpora folder, written without '..', and not named data")
        return value

    @field_validator("licence", "licences")
    @classmethod
    def _spdx(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for name in value.values() if isinstance(value, dict) else [value]:
            spdx(name)
        return value

    @model_validator(mode="after")
    def _complete(self) -> "Entry":
        if not 0 <= self.duration_s[0] < self.duration_s[1]:
            raise ValueError("'duration_s' is a range of seconds, shortest and longest")
        if self.kind == "speech" and (self.unit is None or self.text is None):
            raise ValueError("speech needs 'unit' (word or utterance) and 'text' (the field that says what is spoken)")
        if self.compose is not None and self.unit != "word":
            raise ValueError("'compose' is for a corpus of single words ('unit: word')")
        if (self.layout == "table") != (self.table is not None):
            raise ValueError("'table' and 'layout: table' go together")
        if (self.layout in ("kaldi", "lhotse")) != bool(self.manifests):
            raise ValueError("'manifests' and 'layout: kaldi' or 'lhotse' go together")
        if (self.kind == "questions") != (self.questions is not None):
            raise ValueError("'questions' and 'kind: questions' go together")
        if self.questions is not None and self.layout not in ("table", "huggingface"):
            raise ValueError("questions are columns: of 'layout: table' or 'huggingface'")
        if self.transcript is not None and self.layout not in ("folder", "table"):
            raise ValueError("'transcript' is for sound files: 'layout: folder' or 'table'")
        if self.segment_s is not None and (self.kind != "noise" or self.layout not in ("folder", "table") or (self.table and self.table.start)):
            raise ValueError("'segment_s' cuts noise recordings in files")
        if self.licence_field in self.labels:
            for name in self.labels[self.licence_field].values():
                spdx(name)
        return self

    def label(self, fields: Mapping[str, str], field: str) -> str:
        """A field's value, translated by `labels` where it has some; "" where there is none."""
        value = fields.get(field, "")
        return self.labels[field].get(value, "") if field in self.labels else value.strip()

    def licence_of(self, fields: Mapping[str, str], path: str) -> str:
        """SPDX name of a recording's licence: of its file, of its field, or the corpus'; "" where the field has none that is known."""
        if self.licence_field is None:
            return self.licences.get(PurePosixPath(path).stem, self.licence)
        name = self.label(fields, self.licence_field)
        try:
            return spdx(name)
        except ValueError:
            return ""


def read_entry(kind: Kind, name: str) -> Entry:
    """catalogs/<kind>/<name>.yaml; raises UserError for an unknown name or anything wrong in the file."""
    path = CATALOGS / kind / f"{name}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in (CATALOGS / kind).glob("*.yaml"))
        near = difflib.get_close_matches(name, known, n=1)
        todo = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(known)}; a new corpus is a new file there"
        raise UserError(f"params.yaml, catalog.{kind}", f"there is no {path}", todo)
    entry = validate(Entry, read_yaml(path), str(path))
    if (entry.corpus, entry.kind) != (name, kind):
        raise UserError(str(path), f"says corpus '{entry.corpus}' of kind '{entry.kind}'", f"Write corpus: {name} and kind: {kind}, or move the file")
    return entry
