"""Arguments that several commands share."""

import argparse
import json
from pathlib import Path


def add_identity(parser: argparse.ArgumentParser) -> None:
    """The names that go into the identity columns of every table."""
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--model-name", required=True, help="name of the model in the study")
    parser.add_argument("--editor-name", required=True, help="name of the editor in the study")
    parser.add_argument("--order", required=True, type=int, help="number of the edit order, from 0")


def add_order(parser: argparse.ArgumentParser) -> None:
    """What fixes an edit order besides its number."""
    parser.add_argument("--facts", required=True, type=Path, help="facts file, a JSON list of CounterFact records")
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    parser.add_argument("--unique-subjects", action="store_true", help="edit no subject twice in an order")
    parser.add_argument("--reserved", type=int, default=0, help="facts kept out of all orders (default: 0)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model and what it runs on."""
    parser.add_argument("--model", required=True, type=Path, help="model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def add_gathered(parser: argparse.ArgumentParser) -> None:
    """What was gathered for an editor before its first edit."""
    parser.add_argument("--contexts", required=True, type=Path, help="context templates of the model")
    parser.add_argument("--statistics", type=Path, help="second moments, for editors that need them")
    parser.add_argument("--null-spaces", type=Path, help="null spaces, for editors that need them")
    parser.add_argument("--hypernetwork", type=Path, help="trained hypernetwork, for editors that need one")


def gathered(arguments: argparse.Namespace, lm, settings):
    """The resources that `add_gathered`'s arguments name, refused where they were made for something else."""
    from normgrowth.editors import gathered as read
    from normgrowth.editors.interface import Resources

    second_moments, null_spaces, hypernetwork = {}, {}, {}
    if arguments.statistics:
        second_moments = read.read_second_moments(arguments.statistics, arguments.model, lm)
    if arguments.null_spaces:
        threshold = settings.working.null_space_threshold
        null_spaces = read.read_null_spaces(arguments.null_spaces, arguments.model, lm, threshold)
    if arguments.hypernetwork:
        hypernetwork = read.read_hypernetwork(arguments.hypernetwork, arguments.model, lm, settings.working)
    contexts = json.loads(arguments.contexts.read_text(encoding="utf-8"))
    return Resources(contexts, second_moments, null_spaces, hypernetwork)


def load(arguments: argparse.Namespace):
    """The language model that `add_model`'s arguments name, with torch set up for repeatable results."""
    import torch

    from normgrowth.assets.models import load_model, pick_device

    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    return load_model(arguments.model, pick_device(arguments.device))
