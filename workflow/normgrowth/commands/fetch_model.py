"""Fetch a model from the Hugging Face Hub at a pinned commit, and link its files."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--repo", required=True, help="repository, as owner/name")
    parser.add_argument("--revision", required=True, help="full hash of the commit")
    parser.add_argument("--layers", type=int, default=None, help="transformer blocks that it must have")
    parser.add_argument(
        "--to-read", nargs="*", default=[], metavar="KEY=TOKENS", help="what the study has it read at once, by key"
    )
    parser.add_argument("--out", type=Path, default=None, help="model folder to make (default: only fill the cache)")


def run(arguments: argparse.Namespace) -> None:
    """Fetch what is missing in the Hub's cache, check it against the study, and make the folder."""
    from normgrowth.errors import ModelError
    from normgrowth.lm.context_length import context_length, from_words, too_long
    from normgrowth.sources.checkpoint_files import CONFIG
    from normgrowth.sources.hub import fetch_model
    from normgrowth.sources.loading import link_model
    from normgrowth.sources.model_config import layers_in, read_config

    files = fetch_model(arguments.repo, arguments.revision)
    config = next(file for file in files if file.name == CONFIG)
    if arguments.layers is not None and (found := layers_in(config)) != arguments.layers:
        raise ModelError(
            f"{arguments.repo} has {found} layers, but the study took it for a model of {arguments.layers}: correct "
            "layers or published_as of its source"
        )
    length = context_length(read_config(config))
    if faults := too_long(from_words(arguments.to_read), length, arguments.repo):
        raise ModelError("; ".join(faults))
    if arguments.out is not None:
        source = {"kind": "hub", "repo": arguments.repo, "revision": arguments.revision}
        link_model(files, arguments.out, source, f"{arguments.repo} at {arguments.revision}")
