"""Base class of all settings, which refuses unknown keys, and truth values, infinities and NaN for numbers."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LARGEST = 2**63 - 1
"""Largest integer that files and libraries can represent."""

Seed = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Few = Annotated[int, Field(ge=1, le=1000)]
"""A count of planned jobs or of objects in memory; a larger one would be a mistake, and slow to refuse."""

Window = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(ge=0, le=1)]


class Checked(BaseModel):
    """Immutable settings whose numbers are no truth values, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Check values of numeric fields before they are converted."""
        for field in cls.model_fields.values():
            kinds = set(_kinds(field.annotation))
            check = _NUMBER if float in kinds else _WHOLE_NUMBER
            if kinds & {int, float} and bool not in kinds and check not in field.metadata:
                field.metadata.append(check)
        cls.model_rebuild(force=True)


def _kinds(annotation: Any) -> Iterator[Any]:
    """Types of a field's values, those in lists and dictionaries among them."""
    if get_origin(annotation) in (Union, UnionType, tuple, list, dict):
        for option in get_args(annotation):
            yield from _kinds(option)
    elif hasattr(annotation, "__metadata__"):
        yield from _kinds(get_args(annotation)[0])
    else:
        yield annotation


def _check(value: Any, wanted: str) -> Any:
    """The value itself, if every number in it can be represented; `wanted` describes the right type in errors.

    Raises:
        ValueError: naming what is wrong; pydantic adds the key.
    """
    for part in _parts(value):
        instead = "" if part is value else f", and not {part!r}"
        # Python takes True for 1, but `true` where a number belongs is a mistaken key.
        if isinstance(part, bool) or (isinstance(part, float) and part != part):
            raise ValueError(f"should be {wanted}{instead}")
        if isinstance(part, int) and abs(part) > LARGEST:
            raise ValueError(f"should be at most {LARGEST}{instead}")
    return value


def _parts(value: Any) -> Iterator[Any]:
    """Single values within lists and dictionaries."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)
    else:
        yield value


_WHOLE_NUMBER = BeforeValidator(lambda value: _check(value, "a whole number"))
_NUMBER = BeforeValidator(lambda value: _check(value, "a number"))
