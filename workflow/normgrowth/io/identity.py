"""Comparison of a file's own metadata with its expected identity, so that no file is taken for another."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import pandas as pd

from normgrowth.errors import ArtefactError
from normgrowth.io.provenance import UNSTATED

AGAIN = "delete it and run the workflow again"
LONGEST = 120
"""Characters of a value that a message shows."""

V = TypeVar("V")

_IDENTIFIER = re.compile(rb"<dc:identifier>([^<]*)</dc:identifier>")


class Named(dict[str, V]):
    """Entries of a file by name; asking for one that is not there is an error that a user can act on."""

    def __init__(self, path: Path | str, entries: Mapping[str, V]) -> None:
        super().__init__(entries)
        self._path = path

    def __missing__(self, name: str) -> NoReturn:
        raise ArtefactError(f"{self._path} holds no {name}: another version of the package wrote it; {AGAIN}")


def require(path: Path | str, found: Mapping, expected: Mapping, remedy: str = AGAIN) -> None:
    """Refuse a file whose metadata differ from the expected ones, or lack them.

    Args:
        found: the file's metadata.
        expected: values that some of its entries must have.
        remedy: what the user has to do, for the message.

    Raises:
        ArtefactError: naming the file, what it holds, what it should hold, and the remedy.
    """
    found = {**UNSTATED, **found}
    lacking = [name for name in expected if name not in found]
    if lacking:
        raise ArtefactError(
            f"{path} does not say its {', '.join(lacking)}: another version of the package wrote it; {remedy}"
        )
    wrong = [name for name, value in expected.items() if found[name] != value]
    if wrong:
        has = ", ".join(f"{name} {_short(found[name])}" for name in wrong)
        should = ", ".join(f"{name} {_short(expected[name])}" for name in wrong)
        raise ArtefactError(f"{path} holds {has}, where {should} belongs; {remedy}")


def require_rows(
    path: Path | str, frame: pd.DataFrame, said: Mapping, identity: Mapping, steps: tuple[int, int] | None = None
) -> None:
    """Refuse a table whose rows or metadata are of another study, model, editor, order or step than expected.

    Args:
        frame: has the columns named by `identity`, and `step` where `steps` is given.
        said: the table's metadata. A table without rows must state its identity there.
        identity: expected values of identity columns.
        steps: first and last step that rows may be of.

    Raises:
        ArtefactError: naming the file, what it holds, what it should hold, and the remedy.
    """
    if frame.empty:
        require(path, said, identity, f"it has no rows; {AGAIN}")
    else:
        require(path, {name: _only(frame[name]) for name in identity}, identity)
        require(path, said, {name: value for name, value in identity.items() if name in said})
    if steps and not frame.empty and not frame["step"].between(*steps).all():
        has, should = _span(frame["step"].min(), frame["step"].max()), _span(*steps)
        raise ArtefactError(f"{path} holds {has}, where {should} belongs; {AGAIN}")


def _only(column: pd.Series) -> object:
    """The value that all rows have, or the list of values where they differ."""
    values = [value.item() if hasattr(value, "item") else value for value in column.unique()]
    return values[0] if len(values) == 1 else values


def _span(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def figure_identity(name: str, study: str) -> str:
    """Identity of a figure, which its SVG file holds: "norm_against_edits of demo"."""
    return f"{name} of {study}"


def svg_identity(picture: bytes) -> str | None:
    """Identity that an SVG file holds; None where it holds none."""
    found = _IDENTIFIER.search(picture)
    return html.unescape(found[1].decode("utf-8", errors="replace")) if found else None
