"""Tables of the report: their cells, how numbers stand in these, and the tables as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from normgrowth.claims.markdown import number, probability, table_lines

LONG = 24
"""Number of rows beyond which a table is folded in the page."""


@dataclass(frozen=True)
class Cell:
    """One cell: the text it shows, and the number it sorts by (None: by its text)."""

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
    meanings: Mapping[str, str] = field(default_factory=dict)
    """A sentence for columns that need one, by heading."""
    sorted_by: str | None = None
    """Heading of the column that the rows stand sorted by, ascending; None where they stand in another order."""

    @property
    def rows(self) -> list[list[Cell]]:
        """All rows, group after group."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def folded(self) -> bool:
        """True where the table is too long to stand open in the page; one that is sorted can be read from its top."""
        return len(self.rows) > LONG and self.sorted_by is None


def measured(value: float | None) -> Cell:
    """A measured number; None is one that does not exist, NaN one that a collapsed model gave."""
    if value is None:
        return Cell("–")
    if not np.isfinite(value):
        return Cell("not finite")
    return Cell(number(float(value)), float(value))


def ratio(value: float | None) -> Cell:
    """A measured ratio: as `measured`, with two decimals where they say something."""
    if value is None or not np.isfinite(value) or abs(value) >= 100:
        return measured(value)
    return Cell(f"{value:.2f}", float(value))


def known(value: float) -> float | None:
    """The value, or None for NaN, which pandas uses for a missing number."""
    return None if np.isnan(value) else float(value)


def percent(value: float | None) -> Cell:
    """A share in percent; a dash where there is none."""
    return Cell("–") if value is None or not np.isfinite(value) else Cell(f"{100 * value:.1f}", float(value))


def whole(value: float) -> Cell:
    """A count, without decimals."""
    return Cell(f"{int(value):,}", float(value))


def points(share: float | None) -> Cell:
    """A difference of shares, in points of percent; a dash where there is none."""
    return Cell("–") if share is None else Cell(f"{100 * share:+.1f}", share)


def p_value(p: float | None) -> Cell:
    """A p-value; a dash where nothing was tested."""
    return Cell(probability(p), p)


def as_markdown(tables: Sequence[Table]) -> str:
    """Tables as Markdown, each under its title and note; groups become a first column."""
    return "\n".join(line for table in tables for line in _lines(table)) or "No run has rows."


def _lines(table: Table) -> Iterator[str]:
    grouped = any(table.groups)
    columns = ("family", *table.columns) if grouped else table.columns
    rows = [[*[name] * grouped, *(cell.text for cell in row)] for name, rows in table.groups.items() for row in rows]
    yield from (f"### {table.title}", "")
    if table.note:
        yield from (table.note, "")
    if table.meanings:
        yield from (*(f"* {heading}: {meaning}" for heading, meaning in table.meanings.items()), "")
    yield from table_lines(columns, rows, numbers=range(table.labels + grouped, len(columns)))
    yield ""
