"""Settings as parameters of rules: a string for each, `clamp: 2.0`, so that a dry run shows the one that was changed.

Snakemake compares the set of a job's parameters without their names, so each value says its name.
"""

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import FILLED_IN, WrapperSettings
from normgrowth.study.chosen_editors import ChosenEditor

OF_WRAPPED = FILLED_IN | {"editor"}
"""Settings of a wrapper that say which editor it stands around; that editor's own parameters replace them."""

Parameter = str | Callable[[Any], str]
"""A rule's parameter: a text, or a function of a job's wildcards."""

OF_WILDCARDS = inspect.Signature([inspect.Parameter("wildcards", inspect.Parameter.POSITIONAL_OR_KEYWORD)])
"""Signature set on functions of wildcards: Snakemake inspects it several times per job, which takes longer than the
function itself."""


def said(name: str, value: object) -> str:
    """A parameter's value with its name."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return f"{name}: {text}"


def flat(settings: BaseModel | Mapping[str, object], leave_out: Collection[str] = ()) -> dict[str, str]:
    """Every setting as a parameter, by its name."""
    values = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    return {name: said(name, value) for name, value in values.items() if name not in leave_out}


def names_of(*kinds: type[BaseModel]) -> list[str]:
    """The names of all settings of these kinds."""
    return sorted({name for kind in kinds for name in kind.model_fields})


def flat_editor(editor: ChosenEditor) -> dict[str, str]:
    """An editor's kind and settings as parameters; a wrapper's, `revive.tau: 0.5`, beside the wrapped editor's."""
    if editor.wrapped is None:
        return {"kind": said("kind", editor.kind)} | flat(editor.settings)
    own = flat(editor.settings, leave_out=OF_WRAPPED) | {"around": said("around", editor.wraps)}
    return flat_editor(editor.wrapped) | {
        f"{editor.kind}.{name}": f"{editor.kind}.{text}" for name, text in own.items()
    }


def varying(
    found: Callable[[Any], Mapping[str, str]], every: Iterable[Mapping[str, str]], names: Iterable[str]
) -> dict[str, Parameter]:
    """Parameters that depend on a job's wildcards.

    A parameter that is the same for all jobs is a text: Snakemake evaluates functions for every job, which takes time.

    Args:
        found: a job's parameters by name, from its wildcards; one that it lacks is the empty text.
        every: results of `found` for each job of the study.
        names: names of the parameters, the same for every study.
    """
    every = list(every)
    parameters: dict[str, Parameter] = {}
    for name in names:
        values = {one.get(name, "") for one in every}
        parameters[name] = _text(values.pop()) if len(values) == 1 else _looked_up(name, found)
    return parameters


def in_slots(found: Callable[[Any], Mapping[str, str]]) -> list[Parameter]:
    """An editor's parameters, as functions of wildcards: one for each setting, and empty texts up to the same number.

    The number is what the registered editor with most settings takes in the remedy with most settings in a control arm,
    whatever the study chooses, so that adding an editor to the study reruns no job of the others. A name for every
    setting of every editor would do too, but planning would take a fifth longer.
    """
    fields = {kind: declaration(kind).Settings for kind in EDITORS}
    alone = max(len(of.model_fields) for of in fields.values() if not issubclass(of, WrapperSettings)) + len({"kind"})
    remedy = max(len(of.model_fields.keys() - OF_WRAPPED) for of in fields.values() if issubclass(of, WrapperSettings))
    return [_at(place, found) for place in range(alone + remedy + 2 * len({"around"}))]


def fixed(parameters: Mapping[str, str]) -> dict[str, Parameter]:
    """Parameters that are the same for every job; braces in them are no wildcards."""
    return {name: _text(text) for name, text in parameters.items()}


def prefixed(prefix: str, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Parameters under longer names, where a rule has two of one name."""
    return {prefix + name: parameter for name, parameter in parameters.items()}


def _text(text: str) -> Parameter:
    return _looked_up("", lambda _: {"": text}) if "{" in text else text


def _looked_up(name: str, found: Callable[[Any], Mapping[str, str]]) -> Callable[[Any], str]:
    def look(wildcards: Any) -> str:
        return found(wildcards).get(name, "")

    look.__signature__ = OF_WILDCARDS  # type: ignore[attr-defined]  # functions take any attribute
    return look


def _at(place: int, found: Callable[[Any], Mapping[str, str]]) -> Callable[[Any], str]:
    def look(wildcards: Any) -> str:
        values = tuple(found(wildcards).values())
        return values[place] if place < len(values) else ""

    look.__signature__ = OF_WILDCARDS  # type: ignore[attr-defined]  # functions take any attribute
    return look
