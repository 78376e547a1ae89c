"""What is wrong with a study, in the user's terms: the key, its value, and what is allowed."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

SHOWN = 3
"""Faults reported at once; the first usually causes the others."""

LONGEST = 200
"""Characters of a value that are shown."""

SHAPES = {
    "tuple_type": "a list",
    "dict_type": "a dictionary",
    "model_type": "a dictionary",
    "model_attributes_type": "a dictionary",
    "too_short": "longer: it holds at least {min_length}",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
}
"""Pydantic's words for wrong types, in words of the file a user writes."""


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """'`what` name is unknown', with the nearest known name and all of them."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {shown(name)} is unknown{hint} (known: {', '.join(known) or 'none'})"


def shown(value: object) -> str:
    """A value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def describe(error: ValidationError, model: type[BaseModel], given: object, at: str = "") -> list[str]:
    """One line for each fault that pydantic found in `given`, a value for `model` that stands at key `at`."""
    return [_describe(fault, model, given, at) for fault in error.errors()]


def together(faults: list[str]) -> str:
    """Faults as one line."""
    more = len(faults) - SHOWN
    return "; ".join(faults[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _describe(fault: ErrorDetails, model: type[BaseModel], given: object, at: str) -> str:
    location = list(fault["loc"])
    key = dotted(at, *_as_written(location, given))
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        inside = dotted(at, *_as_written(location[:-1], given))
        where = f"{inside}: key" if inside else "key"
        return unknown(where, location[-1], _keys_at(model, location[:-1]))
    if kind == "missing":
        return f"{key} is missing{_purpose(model, location)}"
    if kind == "union_tag_not_found":
        return f"{key}.kind is missing: it is one of {_kinds(model, location)}"
    if kind == "union_tag_invalid":
        return unknown(f"{key}.kind", context["tag"], context["expected_tags"].replace("'", "").split(", "))
    if kind == "literal_error":
        return unknown(f"{key}: value", value, _literals(model, location))
    if kind in SHAPES:
        return f"{key} is {shown(value)}: should be {SHAPES[kind].format(**context)}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error" and isinstance(value, Mapping | BaseModel):
        return f"{key}: {message}" if key else message  # the message names the keys it is about
    hint = " (put it in quotation marks)" if kind == "string_type" and not isinstance(value, list | dict) else ""
    return f"{key} is {shown(value)}: {message}{hint}"


def dotted(*keys: object) -> str:
    """Keys as a path, `a.b.0`; whatever a user took for a key, it stays one line."""
    return ".".join(str(key) if str(key).isprintable() else repr(key) for key in keys if key != "")


def _as_written(location: list, given: object) -> list:
    """Pydantic's location without the tags of unions, which are no keys."""
    keys, tagged = [], False
    for position, key in enumerate(location):
        present = isinstance(given, Mapping) and key in given
        is_kind = isinstance(given, Mapping) and given.get("kind") == key
        # A tag may be called as a key is: a source of kind `url` has an `url`.
        is_tag = isinstance(given, Mapping) and (not present or is_kind) and not tagged
        if is_tag and (is_kind or position < len(location) - 1):
            tagged = True
            continue
        keys.append(key)
        tagged = False
        given = given[key] if present or (isinstance(given, list | tuple) and isinstance(key, int)) else given
    return [key for key in keys if key != "[key]"]


def _options(annotation: Any) -> Iterator[Any]:
    """The types an annotation allows."""
    if get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    elif hasattr(annotation, "__metadata__"):
        yield from _options(get_args(annotation)[0])
    else:
        yield annotation


def _at(model: type[BaseModel], location: list) -> list[Any]:
    """The types allowed at a location that pydantic reports."""
    here = [model]
    for key in location:
        reached = []
        for option in here:
            if isinstance(option, type) and issubclass(option, BaseModel):
                if "kind" in option.model_fields and key in get_args(option.model_fields["kind"].annotation):
                    reached.append(option)
                elif key in option.model_fields:
                    reached += _options(option.model_fields[key].annotation)
            elif get_origin(option) in (dict, tuple):
                reached += _options(get_args(option)[1 if get_origin(option) is dict else 0])
        here = reached
    return here


def _keys_at(model: type[BaseModel], location: list) -> set[str]:
    sections = [option for option in _at(model, location) if isinstance(option, type) and issubclass(option, BaseModel)]
    return {key for section in sections for key in section.model_fields}


def _literals(model: type[BaseModel], location: list) -> list[str]:
    return [str(v) for option in _at(model, location) if get_origin(option) is Literal for v in get_args(option)]


def _kinds(model: type[BaseModel], location: list) -> str:
    """The kinds that a source may be of."""
    kinds = [v for option in _at(model, location) for v in get_args(option.model_fields["kind"].annotation)]
    return ", ".join(sorted(kinds))


def _purpose(model: type[BaseModel], location: list) -> str:
    for section in _at(model, location[:-1]):
        field = getattr(section, "model_fields", {}).get(location[-1])
        if field is not None and field.description:
            return f" ({field.description.rstrip('.')})"
    return ""
