"""Write the activations themselves of a model after some of its edits."""

import argparse
from pathlib import Path

from normgrowth.commands.common import load
from normgrowth.commands.measuring import add_checkpoint, add_material, digest_of_state, material_of, run_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_checkpoint(parser)
    add_material(parser)
    parser.add_argument("--layers", required=True, type=int, nargs="+", help="layers; negative ones from the end")
    parser.add_argument("--sites", required=True, nargs="+", help="sites; each has a file")
    parser.add_argument("--out", required=True, type=Path, help="folder to write the files to")


def run(arguments: argparse.Namespace) -> None:
    """Bring the model to the step and write one file for each site."""
    from normgrowth.io.schemas import vector_schema
    from normgrowth.io.tables import write_row_groups
    from normgrowth.measure.activations import layers_named, site_width, vector_groups
    from normgrowth.runs.material import require_material
    from normgrowth.runs.state import restore

    chosen = run_of(arguments)
    material, metadata = material_of(arguments, chosen)
    lm = load(arguments)
    require_material(lm, material)
    if arguments.segments:
        restore(lm, arguments.chain, arguments.segments, chosen.expected)
    metadata["state"] = digest_of_state(arguments)
    probes, layers = material.probes(lm), layers_named(lm, arguments.layers)
    identity = {**chosen.identity, "step": arguments.step}
    for site in arguments.sites:
        groups = vector_groups(lm, probes, layers, site, identity)
        write_row_groups(arguments.out / f"{site}.parquet", vector_schema(site_width(lm, site)), groups, metadata)
