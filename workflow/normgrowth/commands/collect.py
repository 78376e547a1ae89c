"""Put the small tables of a study together into one."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--table", required=True, help="name of the table")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--results", required=True, type=Path, help="folder of the study's results")
    parser.add_argument("--chains", required=True, nargs="+", help="model/editor/order of each run")
    parser.add_argument("--segments", required=True, type=int, help="segments of every run")
    parser.add_argument("--checkpoints", required=True, type=int, nargs="+", help="steps that are measured, ascending")
    parser.add_argument("--evaluated", type=int, nargs="*", default=[], help="steps at which tasks are evaluated")
    parser.add_argument("--out", required=True, type=Path, help="table to write")


def run(arguments: argparse.Namespace) -> None:
    """Read every run's files of the table and write them as one."""
    from normgrowth.io.provenance import provenance
    from normgrowth.io.tables import write_table
    from normgrowth.runs.collect import StudyFiles, collect

    files = StudyFiles(
        arguments.results,
        arguments.study,
        [(model, editor, int(order)) for model, editor, order in (c.split("/") for c in arguments.chains)],
        arguments.segments,
        arguments.checkpoints,
        arguments.evaluated,
    )
    rows, sources = collect(arguments.table, files)
    write_table(
        arguments.out, rows, arguments.table, provenance(study=arguments.study, table=arguments.table, runs=sources)
    )
