"""Take facts from a file: read them into CounterFact's schema and check every record."""

import argparse
from pathlib import Path

from normgrowth.io.documents import as_named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--path", required=True, type=as_named, help="JSON list of records")
    parser.add_argument(
        "--format", choices=("counterfact", "zsre"), default="counterfact", help="their schema (default: counterfact)"
    )
    parser.add_argument("--limit", type=int, default=None, help="take only the first so many records")
    parser.add_argument("--out", required=True, type=Path, help="facts file to write, in CounterFact's schema")


def run(arguments: argparse.Namespace) -> None:
    """Check all records, then write them; those in CounterFact's schema stay as they are."""
    from normgrowth.errors import FactError
    from normgrowth.facts.importing import take_facts
    from normgrowth.io.documents import write_json

    taken = take_facts(arguments.path, arguments.format, arguments.limit)
    for reason, count in taken.left_out.items():
        print(f"left out {count} records of {arguments.path}: {reason}")
    try:
        write_json(arguments.out, taken.records)
    except RecursionError as error:
        raise FactError(f"{arguments.path}: its lists and objects are nested too deeply for records") from error
