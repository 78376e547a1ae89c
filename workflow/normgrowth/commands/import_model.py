"""Take a model from a local folder: link its files and record their hashes."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--path", required=True, type=Path, help="folder as transformers saves it, with safetensors")
    parser.add_argument("--out", required=True, type=Path, help="model folder to make")


def run(arguments: argparse.Namespace) -> None:
    """Link rather than copy: weights are large, and the manifest tells when they change."""
    from normgrowth.artefacts.atomic import whole_or_not_at_all
    from normgrowth.assets.models import model_files, write_manifest

    files = model_files(arguments.path)
    with whole_or_not_at_all(arguments.out) as folder:
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        write_manifest(folder, {"kind": "local", "name": arguments.path.resolve().name})
