"""Write the report page of a study."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--results", required=True, type=Path, help="folder of the study's results")
    parser.add_argument("--figures", nargs="*", default=[], help="names of the figures to show, in this order")
    parser.add_argument("--logs", type=Path, help="folder of the workflow's logs, for what jobs asked for and used")
    parser.add_argument("--out", required=True, type=Path, help="HTML file to write")


def run(arguments: argparse.Namespace) -> None:
    """Put claims, figures, tables and provenance into one page."""
    from normgrowth.report.page import write_report

    write_report(arguments.study, arguments.results, arguments.figures, arguments.out, arguments.logs)
