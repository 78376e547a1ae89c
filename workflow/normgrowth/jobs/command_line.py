"""Jobs as words of the command line: one declaration reads them, writes them and is their help.

An argparse parser is made from a job's fields. Types and bounds are the model's own, so that a job from the command
line and one that a rule builds are checked alike.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from normgrowth.errors import UsageError
from normgrowth.jobs.job import READING, Job, Positional, reason

SHOWN = 3
"""Faults reported at once."""

LONGEST = 200
"""Characters of a value that a message shows."""

AnyJob = TypeVar("AnyJob", bound=Job)


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """End the program, as argparse does, without the list of all options."""
        self.exit(2, f"{self.prog}: {message}\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """The values of an option; argparse would drop `--option=--`, taking the value for the mark of the end."""
        if action.option_strings and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value if action.nargs is None else [value]
        return super()._get_values(action, arg_strings)


def add_options(parser: argparse.ArgumentParser, kind: type[Job]) -> None:
    """Declare the fields of a job as options: flags for truth values, several words for lists, one for all else."""
    for name, field in kind.model_fields.items():
        words: dict[str, Any] = {"help": _help(field), "default": argparse.SUPPRESS}
        choices = [value for option in _options(field.annotation) for value in _literals(option)]
        if choices:
            words["choices"] = choices
        shown = {} if choices else {"metavar": name.rstrip("_").upper()}
        if _positional(field):
            parser.add_argument(name, nargs=None if field.is_required() else "?", **words)
        elif field.annotation is bool:
            parser.add_argument(_flag(name), dest=name, action="store_true", **words)
        elif _many(field):
            words |= {"action": "extend", "nargs": "+" if field.is_required() else "*"}
            parser.add_argument(_flag(name), dest=name, required=field.is_required(), **shown, **words)
        else:
            parser.add_argument(_flag(name), dest=name, required=field.is_required(), **shown, **words)


def read(kind: type[AnyJob], given: Mapping[str, object]) -> AnyJob:
    """The job that the words of its options describe, after a check of the files that it names.

    Args:
        given: a text, a list of texts or True, by the name of the field.

    Raises:
        UsageError: naming the options whose values are wrong, in one line.
        ArtefactError: when a file has changed since it was written, or is missing.
    """
    try:
        return kind.model_validate({name: given[name] for name in kind.model_fields if name in given}, context=READING)
    except ValidationError as error:
        faults = [_fault(kind, fault["loc"], fault["type"], fault["input"], fault["msg"]) for fault in error.errors()]
        raise UsageError("; ".join(faults[:SHOWN])) from error


def parse(kind: type[AnyJob], words: Sequence[str]) -> AnyJob:
    """The job that these words of the command line describe.

    Raises:
        SystemExit: with code 2, when an option is missing or unknown.
        UsageError, ArtefactError: as `read` does.
    """
    parser = Parser()
    add_options(parser, kind)
    return read(kind, vars(parser.parse_args(words)))


def words(job: Job) -> str:
    """A job as words of a shell's command line, defaults left out; `parse` turns them into the same job."""
    kind = type(job)
    positions, options = [], []
    for name, field in kind.model_fields.items():
        value = getattr(job, name)
        if not field.is_required() and value == field.get_default(call_default_factory=True):
            continue
        if _positional(field):
            positions.append(quote(str(value)))
        elif value is True:
            options.append(_flag(name))
        else:
            options += _worded(_flag(name), value)
    return " ".join(positions + options)


def as_json(value: BaseModel | Mapping[str, object]) -> str:
    """Settings as JSON; those never set are left out, as they are at their defaults."""
    plain = value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def _worded(flag: str, value: object) -> Iterator[str]:
    several = isinstance(value, tuple)
    texts = [_text(part) for part in value] if isinstance(value, tuple) else [_text(value)]
    if any(text.startswith("-") for text in texts):  # a text that would be taken for an option itself
        yield from (f"{flag}={quote(text)}" for text in texts)
    elif several or texts:
        yield " ".join([flag, *map(quote, texts)])


def _text(value: object) -> str:
    return as_json(value) if isinstance(value, BaseModel | Mapping) else str(value)


def _flag(name: str) -> str:
    # `json_` is --json: a model has a method of that name.
    return f"--{name.rstrip('_').replace('_', '-')}"


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    plain = isinstance(field.default, str | int | float | Path) and not isinstance(field.default, bool)
    return f"{text} (default: {field.default})" if plain and "(default" not in text else text


def _positional(field: FieldInfo) -> bool:
    return any(isinstance(mark, Positional) for mark in field.metadata)


def _options(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, None aside."""
    if get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    elif get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif annotation is not type(None):
        yield annotation


def _many(field: FieldInfo) -> bool:
    return any(get_origin(option) is tuple for option in _options(field.annotation))


def _literals(option: Any) -> tuple[Any, ...]:
    return get_args(option) if get_origin(option) is Literal else ()


def _fault(kind: type[Job], place: tuple[int | str, ...], fault: str, value: object, message: str) -> str:
    """One fault of an option's value."""
    if not place:
        return reason(message)
    name = str(place[0])
    shown = name if _positional(kind.model_fields[name]) else _flag(name)
    instead = "" if fault == "value_error" else f", not {_cut(repr(value))}"
    return f"{shown}: {PLAIN.get(fault, reason(message))}{instead}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


PLAIN = {
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
}
"""Pydantic's words for wrong types, in plain ones."""
