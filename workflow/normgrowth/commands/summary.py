"""Print a study's results as Markdown tables: when runs break, norms, scores and cost."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--tables", required=True, type=Path, help="folder of the study's tables")


def run(arguments: argparse.Namespace) -> None:
    """Read the tables and print what the report shows of them."""
    from normgrowth.report.cells import as_markdown
    from normgrowth.report.summaries import read_summaries

    print(as_markdown(read_summaries(arguments.tables)))
