"""Messages on faults of settings in the user's terms: the key, its value, and what is allowed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

SHOWN = 3
"""Most faults in a message; the first usually causes the others."""

LONGEST = 200
"""Most characters of a value in a message."""

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
"""Types of pydantic's errors whose message is in Python's words, in words of a YAML file."""


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Message that `what` of this name is unknown, with the nearest known name and all of them."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {shown(name)} is unknown{hint} (known: {', '.join(known) or 'none'})"


def shown(value: object) -> str:
    """Text of a value in messages, shortened if long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class _Place(NamedTuple):
    """A place in settings at which pydantic found a fault."""

    keys: list[int | str]  # that lead there, as the user wrote them
    types: list[Any]  # that are allowed there


def describe(error: ValidationError, model: type[BaseModel], at: str = "") -> list[str]:
    """Faults that pydantic found in values for `model` at the key `at` (empty for a whole file), each in one line."""
    return [_describe(fault, model, at) for fault in error.errors()]


def together(faults: list[str]) -> str:
    """Faults in one line; those beyond the first `SHOWN` are only counted."""
    more = len(faults) - SHOWN
    return "; ".join(faults[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def dotted(*keys: object) -> str:
    """Keys as a path, `a.b.0`, in one line whatever the keys contain."""
    return ".".join(str(key) if str(key).isprintable() else repr(key) for key in keys if key != "")


def _describe(fault: ErrorDetails, model: type[BaseModel], at: str) -> str:
    *outer, last = fault["loc"] or ("",)
    around, here = _place(model, outer), _place(model, fault["loc"])
    key = dotted(at, *here.keys)
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        section = dotted(at, *around.keys)
        return unknown(f"{section}: key" if section else "key", last, _fields(around.types))
    if kind == "missing":
        purpose = _fields(around.types).get(str(last))
        return f"{key} is missing ({purpose.rstrip('.')})" if purpose else f"{key} is missing"
    if kind == "union_tag_not_found":
        return f"{key}.kind is missing: it is one of {', '.join(sorted(_kinds(here.types)))}"
    if kind == "union_tag_invalid":
        return unknown(f"{key}.kind", context["tag"], _kinds(here.types))
    if kind == "literal_error":
        literals = [option for option in here.types if get_origin(option) is Literal]
        return unknown(f"{key}: value", value, [str(name) for option in literals for name in get_args(option)])
    if kind in SHAPES:
        return f"{key} is {shown(value)}: should be {SHAPES[kind].format(**context)}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error" and isinstance(value, Mapping | BaseModel):
        return f"{key}: {message}" if key else message  # the message names the keys it is about
    hint = " (put it in quotation marks)" if kind == "string_type" and not isinstance(value, list | dict) else ""
    return f"{key} is {shown(value)}: {message}{hint}"


def _place(model: type[BaseModel], location: Sequence[int | str]) -> _Place:
    """The place of a location that pydantic reports, which names the kind of a source as if it were a key."""
    keys: list[int | str] = []
    types: list[Any] = [model]
    for key in location:
        if len(types) > 1 and key in (kinds := _kinds(types)):
            types = [kinds[str(key)]]
            continue
        if key != "[key]":  # pydantic's word for a key at fault, behind that key
            keys.append(key)
        types = [inner for option in types for inner in _inner(option, key)]
    return _Place(keys, types)


def _inner(option: Any, key: int | str) -> Iterator[Any]:
    """Types of what stands at a key of a section, a dictionary or a list."""
    if _is_section(option):
        if key in option.model_fields:
            yield from _types(option.model_fields[key].annotation)
    elif get_origin(option) is dict:
        yield from _types(get_args(option)[1])
    elif get_origin(option) is tuple:
        yield from _types(get_args(option)[0])


def _types(annotation: Any) -> Iterator[Any]:
    """Types that an annotation allows."""
    if get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _types(option)
    elif hasattr(annotation, "__metadata__"):
        yield from _types(get_args(annotation)[0])
    else:
        yield annotation


def _is_section(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _kinds(types: list[Any]) -> dict[str, Any]:
    """Sections among the types that have a `kind`, by each of its values."""
    sections = [option for option in types if _is_section(option) and "kind" in option.model_fields]
    return {kind: section for section in sections for kind in get_args(section.model_fields["kind"].annotation)}


def _fields(types: list[Any]) -> dict[str, str]:
    """Keys of the sections among the types, with their descriptions."""
    sections = [option for option in types if _is_section(option)]
    return {key: field.description or "" for section in sections for key, field in section.model_fields.items()}
