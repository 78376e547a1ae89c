"""Sample the context templates of a model."""

import argparse
from pathlib import Path

from normgrowth.commands.common import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    parser.add_argument("--per-length", type=int, default=10, help="continuations at each of two lengths (default: 10)")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")


def run(arguments: argparse.Namespace) -> None:
    """Sample from the unedited model and write both template sets."""
    from normgrowth.commands.common import load
    from normgrowth.io.documents import write_json
    from normgrowth.lm.context_templates import sample_contexts
    from normgrowth.lm.prompt_lengths import require_windows
    from normgrowth.sources.manifest import revision

    lm = load(arguments)
    require_windows(lm, {})
    of = {"model": revision(arguments.model), "seed": arguments.seed, "per_length": arguments.per_length}
    write_json(arguments.out, {**of, "templates": sample_contexts(lm, arguments.seed, arguments.per_length)})
