"""Which editor a name stands for, and its settings for a model."""

from dataclasses import dataclass

from pydantic import ValidationError

from normgrowth.config.messages import describe, dotted, unknown
from normgrowth.config.study import Study
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import EditorSettings

PER_MODEL = "per_model"


@dataclass(frozen=True)
class ChosenEditor:
    """An editor of the study with its settings for one model, layers filled in."""

    kind: str
    settings: EditorSettings

    @property
    def module(self) -> str:
        """The editor's own module."""
        return EDITORS[self.kind]

    @property
    def needs_statistics(self) -> bool:
        """Whether it needs second moments at its layers."""
        return declaration(self.kind).NEEDS_STATISTICS


def kind_of(name: str) -> str:
    """The kind of editor a name stands for: `memit` for `memit` and for `memit-weak`."""
    return name.split("-", 1)[0]


def choose(study: Study, name: str, model: str, n_layers: int) -> ChosenEditor:
    """The editor `name` of the study for a model of `n_layers` blocks.

    Raises:
        ValueError: when a layer lies beyond the model.
    """
    given = _given(study, name, model)
    return ChosenEditor(kind_of(name), declaration(kind_of(name)).Settings(**given).resolved(n_layers))


def settings_faults(study: Study) -> list[str]:
    """What is wrong with names and settings of editors, whatever the model."""
    faults = [fault for i, name in enumerate(study.editors) for fault in _name_faults(f"editors.{i}: editor", name)]
    for name, entry in study.editor_settings.items():
        at = f"editor_settings.{name}"
        wrong = _name_faults("editor_settings: editor", name)
        faults += wrong or _entry_faults(study, name, entry, at)
    return faults


def _name_faults(what: str, name: str) -> list[str]:
    if kind_of(name) not in EDITORS:
        return [unknown(what, name, EDITORS) + ": a kind, alone or followed by '-' and a name of its settings"]
    return []


def _entry_faults(study: Study, name: str, entry: dict, at: str) -> list[str]:
    faults = _setting_faults(name, _given(study, name), at)
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


def _setting_faults(name: str, given: dict, at: str) -> list[str]:
    settings = declaration(kind_of(name)).Settings
    try:
        settings(**given)
    except ValidationError as error:
        return describe(error, settings, given, at)
    return []


def _given(study: Study, name: str, model: str | None = None) -> dict:
    """The settings that the study gives for an editor, those for `model` last."""
    entry = study.editor_settings.get(name, {})
    general = {key: value for key, value in entry.items() if key != PER_MODEL}
    return general | (entry.get(PER_MODEL, {}).get(model, {}) if model else {})
