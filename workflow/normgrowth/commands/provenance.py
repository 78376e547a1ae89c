"""Write down what made a study's results."""

import argparse
import json
from pathlib import Path

LOCK = "envs/lock.txt"
"""Under this name, wherever the repository is: where it is says nothing of what it holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--study", required=True, help="the study with all its settings, as JSON")
    parser.add_argument("--inputs", required=True, type=Path, nargs="+", help="files whose hashes identify the inputs")
    parser.add_argument("--lock", type=Path, help="list of the pinned packages")
    parser.add_argument(
        "--figures", type=Path, nargs="*", default=[], help="what trained models reach: JSON files in their folders"
    )
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")


def run(arguments: argparse.Namespace) -> None:
    """Write settings, hashes of inputs and versions; no times and no places, so that equal work is equal bytes."""
    import platform

    from normgrowth.artefacts.documents import write_json
    from normgrowth.artefacts.provenance import file_sha256, provenance

    models: dict[str, dict] = {}
    for path in sorted(arguments.figures):
        models.setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    inputs = {str(path): file_sha256(path) for path in sorted(arguments.inputs)}
    if arguments.lock:
        inputs[LOCK] = file_sha256(arguments.lock)
    write_json(
        arguments.out,
        provenance(
            models=models,
            study=json.loads(arguments.study),
            inputs=inputs,
            python=platform.python_version(),
        ),
    )
