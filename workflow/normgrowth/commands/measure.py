"""Measure a model after some of its edits: scores, abilities, spectra, and the geometry of activations."""

import argparse
from pathlib import Path

from normgrowth.commands.common import load
from normgrowth.commands.measuring import add_checkpoint, add_material, digest_of_state, material_of, run_of
from normgrowth.io.documents import intact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_checkpoint(parser)
    add_material(parser)
    parser.add_argument("--heldout", required=True, type=intact, help="text for perplexity")
    parser.add_argument("--out", required=True, type=Path, help="folder to write the tables to")


def run(arguments: argparse.Namespace) -> None:
    """Bring the model to the step, measure it, write one table for each thing measured."""
    from normgrowth.io.tables import write_table
    from normgrowth.runs.checkpoint import Checkpoint, measure_checkpoint

    chosen = run_of(arguments)
    material, metadata = material_of(arguments, chosen, arguments.heldout)
    checkpoint = Checkpoint(arguments.step, arguments.chain, arguments.segments, chosen.expected)
    tables = measure_checkpoint(load(arguments), material, checkpoint)
    metadata["state"] = digest_of_state(arguments)
    for name, frame in tables.items():
        frame = chosen.identify(frame.assign(step=arguments.step))
        write_table(arguments.out / f"{name}.parquet", frame, name, metadata)
