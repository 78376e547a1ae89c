"""Draw one run of a study by itself."""

import argparse
from pathlib import Path

from normgrowth.commands.draw import read_style


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model-name", required=True, help="name of the model in the study")
    parser.add_argument("--editor-name", required=True, help="name of the editor in the study")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--tables", required=True, type=Path, help="folder of the study's tables")
    parser.add_argument("--style", default="{}", help="sizes and resolution, as JSON (default: the defaults)")
    parser.add_argument("--out", required=True, type=Path, help="path to write, without .pdf, .svg, .png")


def run(arguments: argparse.Namespace) -> None:
    """Read the tables, draw the run, and write it as PDF, SVG and PNG."""
    from normgrowth.figures.render import draw, save
    from normgrowth.figures.style import Style
    from normgrowth.io.tables import read_results
    from normgrowth.layout import CARD_TABLES

    style = Style(read_style(arguments.style))
    tables = read_results(arguments.tables, CARD_TABLES, arguments.study)
    figure = draw("card", tables, style, model=arguments.model_name, editor=arguments.editor_name)
    save(figure, arguments.out, style, arguments.study)
