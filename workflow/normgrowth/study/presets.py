"""Published hyperparameters, read from `study/published/presets`: one file per source, each value with its origin.

A file gives `source`, `presets` by editor and model, and `not_carried`. A preset has `values` `from` one file of the
source, `also` values each with a file of its own, and `absent`: settings without a value in the source, each with the
reason. An entry for `all` holds on every model. `rest` names another source, which holds for what is not stated.
A preset states every setting of its editor or lists it as absent, so that no default of this library slips in unseen.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

from normgrowth.editors.registry import declaration
from normgrowth.errors import StudyError
from normgrowth.study.messages import unknown

FOLDER = Path(__file__).parent / "published" / "presets"
NOT_SOURCES = ("models", "defaults")
"""Names of files in the folder that are no sources."""

EVERY_MODEL = "all"
"""Name of a preset that holds for every model."""


class Value(NamedTuple):
    """A published value, and the file or table of its source that states it."""

    value: object
    origin: str


class Dimensions(NamedTuple):
    """Shape of a model."""

    layers: int
    hidden: int  # width of the residual stream
    keys: int  # width of what MLP down-projections read
    vocabulary: int
    parameters: float  # their number


class _Entry(BaseModel):
    """A part of a file of the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedModel(_Entry):
    """A published model in `models.yaml`."""

    names: tuple[str, ...]  # others by which studies may call it, in lower case
    context: int  # most tokens that it reads at once
    shape: Dimensions


class Statement(_Entry):
    """A value with a file of its own that states it."""

    value: Any
    origin: str = Field(alias="from")


class Preset(_Entry):
    """Settings of an editor for a published model, as a source's file gives them."""

    values: dict[str, Any] = {}
    origin: str = Field("", alias="from")  # of `values`
    also: dict[str, Statement] = {}
    absent: dict[str, str] = {}  # settings without a value, each with the reason


class Source(_Entry):
    """The file of a source."""

    source: str  # repository and commit, or paper
    presets: dict[str, dict[str, Preset]]  # by editor and model
    rest: str | None = None  # source that holds for what is not stated
    not_carried: dict[str, str] = {}  # settings that have no counterpart here, each with the reason


@cache
def sources() -> tuple[str, ...]:
    """Names of the sources."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in NOT_SOURCES))


def _read(name: str) -> dict[str, Any]:
    """Content of a file of the folder."""
    # The C loader, where it is there, takes a tenth of the time; a study reads few of these files.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), loader)


@cache
def _source(name: str) -> Source:
    return Source(**_read(name))


@cache
def _published_models() -> dict[str, PublishedModel]:
    return {name: PublishedModel(**entry) for name, entry in _read("models").items()}


@cache
def _default_sources() -> dict[str, dict[str, str]]:
    """Names of sources by editor and model."""
    return _read("defaults")


def title(source: str) -> str:
    """Repository and commit of a source, or paper."""
    return _source(source).source


def not_carried(source: str) -> dict[str, str]:
    """Published settings that have no counterpart here, each with the reason."""
    return _source(source).not_carried


def models() -> tuple[str, ...]:
    """Names of the published models, as presets use them."""
    return tuple(_published_models())


def published(name: str) -> str | None:
    """Published model that a name stands for, whatever its case; None where there is none."""
    wanted = name.lower()
    return next((model for model, known in _published_models().items() if wanted in (model, *known.names)), None)


def dimensions(model: str) -> Dimensions:
    """Shape of a published model, by the name that presets use."""
    return _published_models()[model].shape


def context(model: str) -> int:
    """Most tokens that a published model reads at once, by the name that presets use."""
    return _published_models()[model].context


def editors(source: str) -> list[str]:
    """Kinds of editors that a source has settings of."""
    return list(_source(source).presets)


def covered(source: str, editor: str) -> list[str]:
    """Published models for which a source has settings of an editor."""
    return [model for model in _source(source).presets.get(editor, {}) if model != EVERY_MODEL]


def preset(source: str, editor: str, model: str) -> dict[str, Value]:
    """The settings of an editor for a published model in a source; empty where it has none.

    Raises:
        StudyError: when a setting of the editor has neither a value nor stands among those absent in the source, or
            when one is named that the editor does not have.
    """
    if model not in covered(source, editor):
        return {}
    values = _stated(source, editor, model)
    fault = _incomplete(set(values), set(absent(source, editor, model)), editor)
    if fault:
        raise StudyError(f"{FOLDER.name}/{source}.yaml: {editor} on {model} {fault}")
    return values


def absent(source: str, editor: str, model: str) -> dict[str, str]:
    """Settings without a value in a source, for an editor and published model, each with the reason."""
    parts = _parts(source, editor, model)
    return {name: why for part in parts for name, why in part.absent.items()}


def _stated(source: str, editor: str, model: str) -> dict[str, Value]:
    """Values that a source states, and for what it leaves out those of the source named in `rest`."""
    rest = _source(source).rest
    values = _stated(rest, editor, model) if rest else {}
    values = {name: Value(one.value, f"{one.origin} in {rest}, not stated here") for name, one in values.items()}
    for part in _parts(source, editor, model):
        values |= {key: Value(value, part.origin) for key, value in part.values.items()}
        values |= {key: Value(one.value, one.origin) for key, one in part.also.items()}
    return values


def _parts(source: str, editor: str, model: str) -> list[Preset]:
    """Entries of a source for an editor: that for every model, then that for this one."""
    of_editor = _source(source).presets.get(editor, {})
    return [part for part in (of_editor.get(EVERY_MODEL), of_editor.get(model)) if part]


def _incomplete(stated: set[str], left_out: set[str], editor: str) -> str | None:
    """Fault of the names of a preset's settings, if there is one."""
    fields = set(declaration(editor).Settings.model_fields)
    for names, said in (
        (fields - stated - left_out, "says nothing of {}: give a value, or list it under `absent` with the reason"),
        ((stated | left_out) - fields, "names {}, which the editor has not"),
        (stated & left_out, "gives a value for {} and lists it under `absent`"),
    ):
        if names:
            return said.format(", ".join(sorted(names)))
    return None


def default_source(editor: str, model: str) -> str | None:
    """Source whose preset an editor follows on a published model by default."""
    return _default_sources().get(editor, {}).get(model)


def faults(chosen: object, editor: str, wanted: set[str], at: str) -> list[str]:
    """Faults of a study's choice of a preset for an editor, each in one line.

    Args:
        chosen: value that the study gives; a source, where it is right.
        editor: kind of the editor.
        wanted: the published models among those of the study.
        at: key at which the choice stands.
    """
    if not isinstance(chosen, str) or chosen not in sources():
        return [unknown(f"{at}: source", chosen, sources())]
    having = covered(chosen, editor)
    if not having:
        others = ", ".join(source for source in sources() if covered(source, editor)) or "no source"
        return [f"{at} is {chosen!r}, which holds no settings of {editor} ({others} does)"]
    if not wanted:
        return [
            f"{at} is {chosen!r}, but no model of the study is a published one: set published_as of its source to one "
            f"of {', '.join(having)}"
        ]
    known = ", ".join(having)
    return [
        f"{at} is {chosen!r}, which holds no settings of {editor} for {model} (it does for {known})"
        for model in sorted(wanted.difference(having))
    ]
