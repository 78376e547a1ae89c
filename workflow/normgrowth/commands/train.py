"""Train a small language model on a world until it knows the facts."""

import argparse
import json
from pathlib import Path

from normgrowth.commands.common import make_repeatable
from normgrowth.io.documents import intact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--settings", required=True, help="architecture and training, as JSON")
    parser.add_argument("--corpus", required=True, type=intact, help="training corpus of the world")
    parser.add_argument("--facts", required=True, type=intact, help="facts of the world")
    parser.add_argument("--heldout", required=True, type=intact, help="running text that is not trained on")
    parser.add_argument("--out", required=True, type=Path, help="model folder to make")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    """Train, check what editing needs, and write the model folder with its manifest."""
    from normgrowth.progress import Progress
    from normgrowth.sources.toy.pretraining import TrainingFiles, train_model
    from normgrowth.sources.toy.toy_settings import TrainingSettings

    make_repeatable(arguments.threads)
    settings = TrainingSettings(**json.loads(arguments.settings))
    with Progress(settings.token_budget, f"training {settings.architecture}, tokens") as progress:
        files = TrainingFiles(arguments.corpus, arguments.facts, arguments.heldout)
        train_model(settings, files, arguments.out, progress=progress.update)
