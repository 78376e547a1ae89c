"""A page of paragraphs, tables and lists, for a terminal and as Markdown."""

import textwrap
from dataclasses import dataclass

from normgrowth.claims.markdown import table_lines

COLUMNS = 100
"""Width of the page on a terminal."""


@dataclass(frozen=True)
class Grid:
    """A table of the page."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    words: tuple[int, ...] = (0,)  # columns of words, aligned to the left; the others hold numbers


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, tables and lists in their order."""

    title: str
    body: list[str | Grid | list[str]]


@dataclass(frozen=True)
class Page:
    """The whole page, whose lead says the most important thing."""

    title: str
    lead: str
    sections: list[Section]


def as_markdown(page: Page) -> str:
    """The page as Markdown."""
    lines = [f"# {page.title}", "", f"**{page.lead}**"]
    for section in page.sections:
        lines += ["", f"## {section.title}"]
        for block in section.body:
            lines.append("")
            if isinstance(block, Grid):
                numbers = set(range(len(block.columns))) - set(block.words)
                lines += table_lines(block.columns, block.rows, numbers)
            elif isinstance(block, str):
                lines.append(block)
            else:
                lines += [f"* {item}" for item in block]
    return "\n".join(lines) + "\n"


def as_text(page: Page) -> str:
    """The page for a terminal."""
    lines = [page.title, "", *_wrapped(page.lead)]
    for section in page.sections:
        lines += ["", section.title.upper()]
        for block in section.body:
            lines.append("")
            if isinstance(block, Grid):
                lines += _aligned(block)
            elif isinstance(block, str):
                lines += _wrapped(block)
            else:
                lines += [line for item in block for line in _wrapped(item, "* ")]
    return "\n".join(lines)


def _wrapped(text: str, mark: str = "") -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False)


def _aligned(grid: Grid) -> list[str]:
    """Lines of a table whose columns stand under each other."""
    cells = [list(grid.columns), *grid.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(grid.columns))]
    return [
        "  ".join(
            f"{cell:{width}}" if i in grid.words else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
