"""Measure a model after some of its edits: scores, activations, perplexity."""

import argparse
import json
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model
from normgrowth.commands.ordering import add_order, facts_and_order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_identity(parser)
    add_model(parser)
    add_order(parser)
    parser.add_argument("--step", required=True, type=int, help="edits applied; 0 measures the unedited model")
    parser.add_argument("--text", required=True, type=Path, help="text that probes are cut from")
    parser.add_argument("--heldout", required=True, type=Path, help="text for perplexity")
    parser.add_argument("--chain", type=Path, help="folder of the run whose states lead to the step")
    parser.add_argument("--segments", type=int, default=0, help="segments that lead to the step")
    parser.add_argument("--settings", required=True, help="what to measure, as JSON")
    parser.add_argument("--out", required=True, type=Path, help="folder to write the tables to")


def run(arguments: argparse.Namespace) -> None:
    """Measure probes on the unedited model, replay the run's states, measure again and compare."""
    from normgrowth.artefacts.provenance import file_sha256, provenance
    from normgrowth.artefacts.schemas import SCHEMAS
    from normgrowth.artefacts.tables import write_table
    from normgrowth.assets.models import revision
    from normgrowth.commands.common import load
    from normgrowth.measure.checkpoint import measure_checkpoint
    from normgrowth.sequence import Run

    settings = json.loads(arguments.settings)
    facts, order = facts_and_order(arguments)
    fixed = {"model_revision": revision(arguments.model), "facts": file_sha256(arguments.facts)}
    fixed |= {"seed": arguments.seed, "unique_subjects": arguments.unique_subjects}
    fixed |= {"reserved_facts": arguments.reserved}
    chosen = Run(arguments.study, arguments.model_name, arguments.editor_name, arguments.order, fixed)
    lm = load(arguments)
    tables = measure_checkpoint(
        lm,
        facts,
        order,
        arguments.step,
        chain=arguments.chain,
        segments=arguments.segments,
        expected=fixed,
        text=arguments.text,
        heldout=arguments.heldout,
        seed=arguments.seed,
        settings=settings,
    )
    metadata = provenance(
        **fixed,
        measure=settings,
        text=file_sha256(arguments.text),
        heldout=file_sha256(arguments.heldout),
        device=lm.device.type,
        dtype="float32",
    )
    for name, frame in tables.items():
        frame = chosen.identify(frame.assign(step=arguments.step))
        write_table(arguments.out / f"{name}.parquet", frame, SCHEMAS[name], metadata)
