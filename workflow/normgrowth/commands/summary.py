"""Print when each run of a study collapses and what it is like at its end, as Markdown."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--tables", required=True, type=Path, help="folder of the study's tables")


def run(arguments: argparse.Namespace) -> None:
    """Read the tables and print one row per run."""
    from normgrowth.claims.judge import TABLES
    from normgrowth.report.summaries import collapse_summary
    from normgrowth.results import read_results

    table = collapse_summary(read_results(arguments.tables, TABLES))
    print("| " + " | ".join(table.columns) + " |")
    print("| " + " | ".join(["---"] * table.labels + ["---:"] * (len(table.columns) - table.labels)) + " |")
    for row in table.rows:
        print("| " + " | ".join(cell.text for cell in row) + " |")
