"""What a table of the report is made of, and how numbers stand in it."""

from dataclasses import dataclass

import numpy as np

from normgrowth.claims.markdown import number

LONG = 24
"""Rows beyond which a table is folded away in the page."""


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number it sorts by (None: by its text)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column; the first `labels` columns hold words, the others numbers.

    Rows stand in groups under a name of their own; a table without groups has one without a name.
    """

    title: str
    note: str
    labels: int
    columns: tuple[str, ...]
    groups: dict[str, list[list[Cell]]]

    @property
    def rows(self) -> list[list[Cell]]:
        """All rows, group after group."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def folded(self) -> bool:
        """Whether the table is too long to stand open in the page."""
        return len(self.rows) > LONG


def measured(value: float | None) -> Cell:
    """A measured number; None is one that does not exist, NaN one that a collapsed model gave."""
    if value is None:
        return Cell("–")
    if not np.isfinite(value):
        return Cell("not finite")
    return Cell(number(float(value)), float(value))


def ratio(value: float | None) -> Cell:
    """As `measured`, with two decimals where they say something."""
    plain = value is None or not np.isfinite(value) or abs(value) >= 100
    return measured(value) if plain else Cell(f"{value:.2f}", float(value))


def known(value: float) -> float | None:
    """None for a number that does not exist, which pandas tells by NaN."""
    return None if np.isnan(value) else float(value)


def percent(value: float | None) -> Cell:
    """A share in percent; a dash where there is none."""
    known_value = value is not None and np.isfinite(value)
    return Cell(f"{100 * value:.1f}", float(value)) if known_value else Cell("–")


def whole(value: int) -> Cell:
    """A count."""
    return Cell(f"{int(value):,}", float(value))
