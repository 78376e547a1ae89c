"""Take a model from a local folder: check it, link its files and record their hashes."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--path", required=True, type=Path, help="folder as transformers saves it, with safetensors")
    parser.add_argument("--out", required=True, type=Path, help="model folder to make")


def run(arguments: argparse.Namespace) -> None:
    """Check and link what loading needs."""
    from normgrowth.sources.checkpoint_files import model_files
    from normgrowth.sources.loading import link_model

    # Of where it is, the manifest says nothing: a folder that was moved is the same model.
    link_model(model_files(arguments.path), arguments.out, {"kind": "local"}, f"model folder {arguments.path}")
