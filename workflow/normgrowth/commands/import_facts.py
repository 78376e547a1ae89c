"""Take facts from a local file: check every record of CounterFact's schema."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--path", required=True, type=Path, help="JSON list of records in CounterFact's schema")
    parser.add_argument("--limit", type=int, default=None, help="take only the first so many records")
    parser.add_argument("--out", required=True, type=Path, help="facts file to write")


def run(arguments: argparse.Namespace) -> None:
    """Check all records, then write them as they are."""
    from normgrowth.artefacts.atomic import write_json
    from normgrowth.facts.records import check_records, read_records

    records = read_records(arguments.path)[: arguments.limit]
    check_records(records, arguments.path)
    write_json(arguments.out, records)
