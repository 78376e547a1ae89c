"""Write the synthetic world: facts, running text, training corpus."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--settings", required=True, help="the world's settings, as JSON")
    parser.add_argument("--facts", required=True, type=Path, help="facts file to write, in CounterFact's schema")
    parser.add_argument("--text", required=True, type=Path, help="running text to write")
    parser.add_argument("--heldout", required=True, type=Path, help="running text to write that is not trained on")
    parser.add_argument("--corpus", required=True, type=Path, help="training corpus to write, one JSON document a line")


def run(arguments: argparse.Namespace) -> None:
    """Build the world from its seed and write its four files."""
    from normgrowth.sources.toy.toy_settings import WorldSettings
    from normgrowth.sources.toy.world import WorldFiles, write_world

    settings = WorldSettings(**json.loads(arguments.settings))
    write_world(settings, WorldFiles(arguments.facts, arguments.text, arguments.heldout, arguments.corpus))
