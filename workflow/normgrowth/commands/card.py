"""Draw one run of a study by itself."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.figures.style import StyleSettings
from normgrowth.jobs.job import Job, from_json
from normgrowth.layout import CARD_TABLES


class Card(Job):
    """One run, and the tables that it is drawn from."""

    model_name: str = Field(description="name of the model in the study")
    editor_name: str = Field(description="name of the editor in the study")
    study: str = Field(description="name of the study")
    tables: Path = Field(description="folder of the study's tables")
    style: Annotated[StyleSettings, from_json(StyleSettings)] = Field(
        StyleSettings(), description="sizes and resolution, as JSON (default: the defaults)"
    )
    out: Path = Field(description="path to write, without .pdf, .svg, .png")


def run(job: Card) -> None:
    """Read the tables, draw the run, and write it as PDF, SVG and PNG."""
    # pandas and matplotlib: kept out of planning and of --help
    from normgrowth.figures.render import draw, save
    from normgrowth.figures.style import Style
    from normgrowth.io.tables import read_results

    style = Style(job.style)
    tables = read_results(job.tables, CARD_TABLES, job.study)
    figure = draw("card", tables, style, model=job.model_name, editor=job.editor_name)
    save(figure, job.out, style, job.study)
