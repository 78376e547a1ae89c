"""Take facts from a file: read them into CounterFact's schema and check every record."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--path", required=True, type=Path, help="JSON list of records")
    parser.add_argument(
        "--format", choices=("counterfact", "zsre"), default="counterfact", help="their schema (default: counterfact)"
    )
    parser.add_argument("--limit", type=int, default=None, help="take only the first so many records")
    parser.add_argument("--out", required=True, type=Path, help="facts file to write, in CounterFact's schema")


def run(arguments: argparse.Namespace) -> None:
    """Check all records, then write them; those in CounterFact's schema stay as they are."""
    from normgrowth.artefacts.atomic import write_json
    from normgrowth.facts.records import check_records, read_records
    from normgrowth.facts.zsre import read_zsre

    read = {"counterfact": read_records, "zsre": read_zsre}[arguments.format]
    records = read(arguments.path)[: arguments.limit]
    check_records(records, arguments.path)
    write_json(arguments.out, records)
