"""The base of every command's job, and the types of its fields.

Rules build jobs while a study is planned, when no file exists yet, so files are checked only when a job is read from
the command line. This module is imported whenever the workflow is parsed, so it must stay free of heavy imports.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from normgrowth.checked import Checked
from normgrowth.io.documents import as_named, intact

READING = {"reading": True}
"""Validation context under which a job is read from the command line, and the files that it names are checked."""

Settings = TypeVar("Settings", bound=BaseModel)


class Job(Checked):
    """Arguments of one command: its fields are the command-line options, their descriptions the help."""

    # `model_name` is a field of many; validators are built once, when `Checked` has added its own
    model_config = ConfigDict(protected_namespaces=(), defer_build=True)


class Positional:
    """Mark of a field that the command line takes by its position, without the name of an option."""


def _when_reading(check: Callable[[Path], Path]) -> AfterValidator:
    def look(path: Path, info: ValidationInfo) -> Path:
        return check(path) if info.context == READING else path

    return AfterValidator(look)


Intact = Annotated[Path, _when_reading(intact)]
"""A file that the workflow wrote, compared with its digest before any work."""

AsNamed = Annotated[Path, _when_reading(as_named)]
"""A user's file, or a download, which is compared with the hash that is its name."""


def from_json(kind: type[BaseModel]) -> BeforeValidator:
    """Validator of a field of settings, which the command line takes as JSON."""
    return BeforeValidator(partial(read_settings, kind))


def read_settings(kind: type[Settings], value: object) -> Settings:
    """Settings from JSON, or from a dictionary; settings of this kind stay as they are.

    Raises:
        ValueError: naming the first setting that is wrong, and those there are.
    """
    if isinstance(value, kind):
        return value
    try:
        return kind.model_validate(parsed(value))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        where = f"{place} is {first['input']!r}: " if place else ""
        known = ", ".join(kind.model_fields)
        raise ValueError(f"{where}{reason(first['msg'])}; settings are {known}") from error


def parsed(value: object) -> object:
    """The value of JSON text; anything but text stays as it is.

    Raises:
        ValueError: when it is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"should be JSON ({error})") from error


def reason(message: str) -> str:
    """Pydantic's message for a fault, without its boilerplate."""
    return message.removeprefix("Value error, ").removeprefix("Input ")
