"""Draw one figure from a study's tables."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from normgrowth.figures.catalogue import FIGURES
from normgrowth.figures.style import StyleSettings
from normgrowth.jobs.job import Job, from_json


def _known(name: str) -> str:
    if name not in FIGURES:
        raise ValueError(f"figure {name!r} is unknown (known: {', '.join(sorted(FIGURES))})")
    return name


class Draw(Job):
    """A figure, and the tables that it is drawn from."""

    figure: Annotated[str, AfterValidator(_known)] = Field(description="name of the figure")
    study: str = Field(description="name of the study")
    tables: Path = Field(description="folder of the study's tables")
    style: Annotated[StyleSettings, from_json(StyleSettings)] = Field(
        StyleSettings(), description="sizes and resolution, as JSON (default: the defaults)"
    )
    out: Path = Field(description="path to write, without .pdf, .svg, .png")


def run(job: Draw) -> None:
    """Read the tables the figure needs, draw it, and write it as PDF, SVG and PNG."""
    # pandas and matplotlib: kept out of planning and of --help
    from normgrowth.figures.render import draw, save
    from normgrowth.figures.style import Style
    from normgrowth.io.tables import read_results

    style = Style(job.style)
    tables = read_results(job.tables, FIGURES[job.figure].tables, job.study)
    save(draw(job.figure, tables, style), job.out, style, job.study)
