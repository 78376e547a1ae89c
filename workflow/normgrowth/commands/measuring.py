"""What commands that work at checkpoints share: which checkpoint of which run, and what it is measured on."""

import argparse
import json
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model
from normgrowth.commands.ordering import add_order, facts_and_order
from normgrowth.io.documents import intact


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint of which run."""
    add_identity(parser)
    add_model(parser)
    add_order(parser)
    parser.add_argument("--step", required=True, type=int, help="edits applied; 0 is the unedited model")
    parser.add_argument("--chain", type=Path, help="folder of the run whose states lead to the step")
    parser.add_argument("--segments", type=int, default=0, help="segments that lead to the step")


def add_material(parser: argparse.ArgumentParser) -> None:
    """What it is measured on."""
    parser.add_argument("--text", required=True, type=intact, help="text that probes are cut from")
    parser.add_argument("--settings", required=True, help="what to measure, as JSON")


def run_of(arguments: argparse.Namespace):
    """The run that `add_checkpoint`'s arguments name."""
    from normgrowth.io.provenance import file_sha256
    from normgrowth.runs.segment import Run
    from normgrowth.sources.manifest import revision

    fixed = {"model_revision": revision(arguments.model), "facts": file_sha256(arguments.facts)}
    fixed |= {"seed": arguments.seed, "unique_subjects": arguments.unique_subjects}
    fixed |= {"reserved_facts": arguments.reserved}
    return Run(arguments.study, arguments.model_name, arguments.editor_name, arguments.order, fixed)


def digest_of_state(arguments: argparse.Namespace) -> str | None:
    """The digest that the state carries which the checkpoint is after; None for the unedited model."""
    from normgrowth.io.digests import safetensors_header, stated_digest
    from normgrowth.layout import STATE_FILE, segment_folder

    if not arguments.segments:
        return None
    return stated_digest(segment_folder(arguments.chain, arguments.segments) / STATE_FILE, safetensors_header)


def material_of(arguments: argparse.Namespace, run, heldout: Path | None = None):
    """The material that `add_material`'s arguments name, and the metadata of files made from it.

    Args:
        run: what `run_of` gives.
        heldout: text for perplexity, where that is measured.
    """
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.measure.measure_settings import Measure
    from normgrowth.runs.material import Material
    from normgrowth.sources.loading import pick_device

    settings = json.loads(arguments.settings)
    facts, order = facts_and_order(arguments)
    material = Material(facts, order, arguments.text, heldout, arguments.seed, Measure.model_validate(settings))
    metadata = provenance(
        **run.identity,
        **run.fixed,
        step=arguments.step,
        measure=settings,
        text=file_sha256(arguments.text),
        heldout=file_sha256(heldout) if heldout else None,
        device=pick_device(arguments.device),
        dtype="float32",
    )
    return material, metadata
