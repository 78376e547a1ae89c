"""Arguments that several commands share."""

import argparse
import os
from dataclasses import replace
from pathlib import Path


def add_study(parser: argparse.ArgumentParser, default: str = "config.yaml") -> None:
    """The study that a command is about, as the workflow would read it."""
    parser.add_argument(
        "study", nargs="?", type=Path, help=f"study file, laid over the default study (default: {default})"
    )
    parser.add_argument("--config", nargs="*", default=[], help="further values, as key=value (as for snakemake)")


def add_identity(parser: argparse.ArgumentParser) -> None:
    """The names that go into the identity columns of every table."""
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--model-name", required=True, help="name of the model in the study")
    parser.add_argument("--editor-name", required=True, help="name of the editor in the study")
    parser.add_argument("--order", required=True, type=int, help="number of the edit order, from 0")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model and what it runs on."""
    parser.add_argument("--model", required=True, type=Path, help="model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to spread the model over (default: 1)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of matrix products in forward passes (default: float32)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def make_repeatable(threads: int) -> None:
    """Set torch up so that the same inputs give the same bits."""
    import torch

    # Without it, cuBLAS refuses to multiply matrices in a repeatable way; it is read at the first multiplication.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it has not written


def load(arguments: argparse.Namespace):
    """The language model that `add_model`'s arguments name, with torch set up for repeatable results."""
    import torch

    from normgrowth.sources.loading import load_model, pick_device

    make_repeatable(arguments.threads)
    lm = load_model(arguments.model, pick_device(arguments.device), arguments.gpus)
    return replace(lm, precision=getattr(torch, arguments.precision))
