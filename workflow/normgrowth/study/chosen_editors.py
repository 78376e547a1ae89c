"""Editors of a study: the kind that each name stands for, and its settings for a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from pydantic import ValidationError

from normgrowth.editors import families
from normgrowth.editors.families import kind_of
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import (
    FILLED_IN,
    HYPERNETWORK,
    ControlSettings,
    EditorSettings,
    FollowerSettings,
    RemedySettings,
    WrapperSettings,
)
from normgrowth.study import inputs, presets
from normgrowth.study.messages import describe, dotted, unknown
from normgrowth.study.study import Study

PER_MODEL = "per_model"
PRESET = "preset"
"""Keys of an editor's entry in `editor_settings` that are no settings."""


@dataclass(frozen=True)
class ChosenEditor:
    """An editor of the study with its settings for one model, layers filled in."""

    kind: str
    settings: EditorSettings
    origins: dict[str, str]  # by setting: `study`, `given`, `default`, or the preset it comes from
    wrapped: Self | None = None  # the editor that a remedy or control arm stands around

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the editor's own module and of that of the editor it wraps."""
        return (EDITORS[self.kind], *(self.wrapped.modules if self.wrapped else ()))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries whose version decides its results, beside those that every computation uses."""
        return (*self.settings.libraries, *(self.wrapped.libraries if self.wrapped else ()))

    @property
    def needs(self) -> frozenset[str]:
        """Resources to gather before the first edit, by their names in `editors.settings`."""
        return self.settings.needs

    @property
    def wraps(self) -> str | None:
        """The study's name of the editor that it wraps; None for an editor that is no wrapper."""
        return self.settings.editor if isinstance(self.settings, WrapperSettings) else None

    @property
    def all_wrapped(self) -> tuple[str, ...]:
        """The study's names of the editors inside, the innermost last: a control arm may stand around a remedy."""
        return (self.wraps, *self.wrapped.all_wrapped) if self.wrapped and self.wraps else ()


def choose(study: Study, name: str, model: str, n_layers: int) -> ChosenEditor:
    """The editor `name` of the study for a model of `n_layers` blocks.

    Raises:
        ValueError: when a layer lies beyond the model, or a remedy cannot be put around the editor it names.
    """
    kind = kind_of(name)
    settings = declaration(kind).Settings(**_given(study, name, model))
    origins = _origins(study, name, model, settings)
    target = wrapped_editor(study, name)
    if isinstance(settings, WrapperSettings) and target is not None:
        wrapped = choose(study, target, model, n_layers)
        return ChosenEditor(kind, settings.around(target, wrapped.kind, wrapped.settings), origins, wrapped)
    return ChosenEditor(kind, settings.resolved(n_layers), origins)


def editors_to_try() -> tuple[str, ...]:
    """Kinds of editors that edit by themselves and need no long training before their first edit, in tables' order."""
    settings = {kind: declaration(kind).Settings for kind in EDITORS}
    wrappers = {kind for kind, its in settings.items() if issubclass(its, WrapperSettings)}
    return tuple(
        families.in_order(kind for kind in EDITORS.keys() - wrappers if HYPERNETWORK not in settings[kind]().needs)
    )


def by_default(kind: str, model: str, n_layers: int, given: Mapping[str, Any] = MappingProxyType({})) -> ChosenEditor:
    """An editor as a study has it that sets nothing: by its usual preset for a published model, else by its defaults.

    Args:
        kind: of an editor that is no wrapper.
        model: name of the model, by which presets know published ones.
        n_layers: number of its blocks.
        given: settings that replace the preset's or the default.

    Raises:
        ValidationError: when a given setting is unknown or its value wrong.
        ValueError: when a layer lies beyond the model.
    """
    published = presets.published(model)
    source = presets.default_source(kind, published) if published else None
    values = presets.preset(source, kind, published) if source and published else {}
    settings = declaration(kind).Settings(**{key: value.value for key, value in values.items()} | dict(given))
    origins = dict.fromkeys(type(settings).model_fields, "default")
    origins |= {key: f"preset {source}: {value.origin}" for key, value in values.items()}
    origins |= dict.fromkeys(given, "given")
    return ChosenEditor(kind, settings.resolved(n_layers), origins)


def wrapped_editor(study: Study, name: str) -> str | None:
    """Name of the editor that a wrapper stands around: its setting `editor`, or what follows `-` in its own name.

    None for an editor that is no wrapper; empty where a wrapper names none.
    """
    settings = declaration(kind_of(name)).Settings(**_given(study, name))
    if not isinstance(settings, WrapperSettings):
        return None
    return settings.editor or families.wrapped_editor(name) or ""


def innermost(study: Study, name: str) -> str:
    """Name of the editor that edits when `name` does: itself, or the one that it wraps."""
    target = wrapped_editor(study, name)
    return innermost(study, target) if target else name


def settings_faults(study: Study) -> list[str]:
    """Faults of names and settings of editors that hold for any model, each in one line."""
    faults = [fault for i, name in enumerate(study.editors) for fault in _name_faults(f"editors.{i}: editor", name)]
    for name, entry in study.editor_settings.items():
        at = f"editor_settings.{name}"
        wrong = _name_faults("editor_settings: editor", name)
        faults += wrong or _entry_faults(study, name, entry, at)
    return faults or [fault for name in study.editors for fault in _wrapper_faults(study, name)]


def _name_faults(what: str, name: str) -> list[str]:
    if kind_of(name) not in EDITORS:
        return [unknown(what, name, EDITORS) + ": a kind, alone or followed by '-' and a name of its settings"]
    return []


def _entry_faults(study: Study, name: str, entry: dict[str, Any], at: str) -> list[str]:
    """Faults of an editor's entry in `editor_settings`, which stands at key `at`."""
    faults = _setting_faults(name, _given(study, name), at)
    if PRESET in entry and not faults:
        published = {known for model in study.models if (known := published_model(study, model))}
        faults += presets.faults(entry[PRESET], kind_of(name), published, f"{at}.{PRESET}")
    per_model = entry.get(PER_MODEL, {})
    if not isinstance(per_model, dict):
        return [*faults, f"{at}.{PER_MODEL} is {per_model!r}: it should map models to settings"]
    for model, overrides in per_model.items():
        where = dotted(at, PER_MODEL, model)
        if model not in study.model_sources:
            faults.append(unknown(f"{at}.{PER_MODEL}: model", model, study.model_sources))
        elif not isinstance(overrides, dict):
            faults.append(f"{where} is {overrides!r}: it should map settings to values")
        elif not faults:
            faults += _setting_faults(name, _given(study, name, model), where)
    return faults


def _setting_faults(name: str, given: dict[str, Any], at: str) -> list[str]:
    """Faults of the values of an editor's settings, which stand at key `at`."""
    model = declaration(kind_of(name)).Settings
    try:
        settings = model(**given)
    except ValidationError as error:
        return describe(error, model, at)
    if isinstance(settings, WrapperSettings):
        return [f"{at}.{key} is filled in by the workflow: leave it out" for key in sorted(FILLED_IN & set(given))]
    return []


def _wrapper_faults(study: Study, name: str) -> list[str]:
    """Faults of the choice of the editor that a remedy or control arm stands around."""
    target = wrapped_editor(study, name)
    if target is None:
        return []
    own = declaration(kind_of(name)).Settings
    verb = "controls" if issubclass(own, ControlSettings) else "wraps"
    if not target:
        return [
            f"editors: {name!r} {verb} another editor: name that one as in {name}-memit, or in "
            f"editor_settings.{name}.editor"
        ]
    if wrong := _name_faults(f"editor {name!r} {verb} {target!r}: editor", target):
        return wrong
    inner = declaration(kind_of(target)).Settings
    for of, what in ((ControlSettings, "a control arm"), (RemedySettings, "a remedy")):
        # A control arm may stand around a remedy, which is an editing method, but neither around its like.
        if issubclass(inner, of) and (issubclass(own, of) or of is ControlSettings):
            itself = " itself" if issubclass(own, of) else ""
            return [f"editor {name!r} {verb} {target!r}, {what}{itself}: name one of the others"]
    if issubclass(own, RemedySettings) and (reason := own.refusal(kind_of(target))):
        return [f"editor {name!r} cannot wrap {target!r}: {reason}"]
    if issubclass(own, FollowerSettings) and target not in study.editors:
        return [f"editor {name!r} follows the run of {target!r}, which is not among editors: add it"]
    return _wrapper_faults(study, target)


def published_model(study: Study, model: str) -> str | None:
    """Published model that a model of the study is, by what its source says or by its own name; None for any other."""
    return inputs.published_model(model, study.model_sources.get(model))


def preset_of(study: Study, name: str, model: str) -> tuple[str, dict[str, presets.Value]] | None:
    """Source of the preset that an editor follows on a model, and its values; None where no preset names the model."""
    published = published_model(study, model)
    if published is None:
        return None
    kind = kind_of(name)
    source = study.editor_settings.get(name, {}).get(PRESET) or presets.default_source(kind, published)
    return (source, presets.preset(source, kind, published)) if source else None


def _given(study: Study, name: str, model: str | None = None) -> dict[str, Any]:
    """Settings of an editor that are not defaults; those for `model` replace the study's, and these a preset's."""
    entry = study.editor_settings.get(name, {})
    of_preset: dict[str, Any] = {}
    if model and (found := preset_of(study, name, model)):
        of_preset = {key: value.value for key, value in found[1].items()}
    general = {key: value for key, value in entry.items() if key not in (PER_MODEL, PRESET)}
    return of_preset | general | (entry.get(PER_MODEL, {}).get(model, {}) if model else {})


def _origins(study: Study, name: str, model: str, settings: EditorSettings) -> dict[str, str]:
    """Origin of each setting; see `ChosenEditor.origins`."""
    entry = study.editor_settings.get(name, {})
    found = preset_of(study, name, model)
    origins = dict.fromkeys(type(settings).model_fields, "default")
    if found:
        source, values = found
        origins |= {key: f"preset {source}: {value.origin}" for key, value in values.items()}
    for given in (entry, entry.get(PER_MODEL, {}).get(model, {})):
        origins |= dict.fromkeys(origins.keys() & given.keys(), "study")
    return origins
