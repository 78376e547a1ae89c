"""Draw one figure from a study's tables."""

import argparse
from pathlib import Path

from normgrowth.figures.catalogue import FIGURES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--figure", required=True, choices=sorted(FIGURES), help="name of the figure")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--tables", required=True, type=Path, help="folder of the study's tables")
    parser.add_argument("--style", default="{}", help="sizes and resolution, as JSON (default: the defaults)")
    parser.add_argument("--out", required=True, type=Path, help="path to write, without .pdf, .svg, .png")


def run(arguments: argparse.Namespace) -> None:
    """Read the tables the figure needs, draw it, and write it as PDF, SVG and PNG."""
    from normgrowth.figures.render import draw, save
    from normgrowth.figures.style import Style
    from normgrowth.io.tables import read_results

    style = Style(read_style(arguments.style))
    tables = read_results(arguments.tables, FIGURES[arguments.figure].tables, arguments.study)
    save(draw(arguments.figure, tables, style), arguments.out, style, arguments.study)


def read_style(text: str):
    """Style settings from JSON.

    Raises:
        StudyError: naming the first setting that is wrong.
    """
    from pydantic import ValidationError

    from normgrowth.errors import StudyError
    from normgrowth.figures.style import StyleSettings

    try:
        return StyleSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "style"
        known = ", ".join(StyleSettings.model_fields)
        raise StudyError(f"figure style: {where} = {first['input']!r}: {first['msg']}; settings are {known}") from error
