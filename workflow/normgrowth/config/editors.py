"""Which editor a name stands for, and its settings for a model."""

from dataclasses import dataclass

from pydantic import ValidationError

from normgrowth.config.messages import describe, dotted, unknown
from normgrowth.config.study import Study
from normgrowth.editors.control_settings import FILLED_IN, ControlSettings
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import EditorSettings

PER_MODEL = "per_model"


@dataclass(frozen=True)
class ChosenEditor:
    """An editor of the study with its settings for one model, layers filled in."""

    kind: str
    settings: EditorSettings
    controlled: "ChosenEditor | None" = None  # by a control arm

    @property
    def modules(self) -> tuple[str, ...]:
        """The editor's own module, and that of the editor it controls."""
        return (EDITORS[self.kind], *(self.controlled.modules if self.controlled else ()))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries whose version decides its results, beside those that every computation uses."""
        return (*self.settings.libraries, *(self.controlled.libraries if self.controlled else ()))

    @property
    def needs(self) -> frozenset[str]:
        """What must be gathered before its first edit."""
        return self.settings.needs


def kind_of(name: str) -> str:
    """The kind of editor a name stands for: `memit` for `memit` and for `memit-weak`."""
    return name.split("-", 1)[0]


def choose(study: Study, name: str, model: str, n_layers: int) -> ChosenEditor:
    """The editor `name` of the study for a model of `n_layers` blocks.

    Raises:
        ValueError: when a layer lies beyond the model.
    """
    kind = kind_of(name)
    settings = declaration(kind).Settings(**_given(study, name, model))
    if isinstance(settings, ControlSettings):
        target = controlled_editor(study, name)
        controlled = choose(study, target, model, n_layers)
        return ChosenEditor(kind, settings.around(target, controlled.kind, controlled.settings), controlled)
    return ChosenEditor(kind, settings.resolved(n_layers))


def controlled_editor(study: Study, name: str) -> str | None:
    """The editor that a control arm of the study controls: what it says, or what follows `-` in its name.

    None for an editor that is no control arm; empty where an arm says nothing.
    """
    settings = declaration(kind_of(name)).Settings(**_given(study, name))
    return (settings.editor or name.partition("-")[2]) if isinstance(settings, ControlSettings) else None


def settings_faults(study: Study) -> list[str]:
    """What is wrong with names and settings of editors, whatever the model."""
    faults = [fault for i, name in enumerate(study.editors) for fault in _name_faults(f"editors.{i}: editor", name)]
    for name, entry in study.editor_settings.items():
        at = f"editor_settings.{name}"
        wrong = _name_faults("editor_settings: editor", name)
        faults += wrong or _entry_faults(study, name, entry, at)
    return faults or [fault for name in study.editors for fault in _control_faults(study, name)]


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
    model = declaration(kind_of(name)).Settings
    try:
        settings = model(**given)
    except ValidationError as error:
        return describe(error, model, given, at)
    if isinstance(settings, ControlSettings):
        return [f"{at}.{key} is filled in by the workflow: leave it out" for key in sorted(FILLED_IN & set(given))]
    return []


def _control_faults(study: Study, name: str) -> list[str]:
    """What is wrong with the editor that a control arm of the study controls."""
    target = controlled_editor(study, name)
    if target is None:
        return []
    if not target:
        return [
            f"editors: {name!r} controls another editor: name that one as in {name}-memit, or in "
            f"editor_settings.{name}.editor"
        ]
    if wrong := _name_faults(f"editor {name!r} controls {target!r}: editor", target):
        return wrong
    if issubclass(declaration(kind_of(target)).Settings, ControlSettings):
        return [f"editor {name!r} controls {target!r}, a control arm itself: name one of the others"]
    if declaration(kind_of(name)).Settings.follows and target not in study.editors:
        return [f"editor {name!r} follows the run of {target!r}, which is not among editors: add it"]
    return []


def _given(study: Study, name: str, model: str | None = None) -> dict:
    """The settings that the study gives for an editor, those for `model` last."""
    entry = study.editor_settings.get(name, {})
    general = {key: value for key, value in entry.items() if key != PER_MODEL}
    return general | (entry.get(PER_MODEL, {}).get(model, {}) if model else {})
