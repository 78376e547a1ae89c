"""Edit each of a few facts alone on the unedited model, score it, and undo it."""

import argparse
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model, load
from normgrowth.commands.gathering import (
    add_editor,
    add_gathered,
    editor_and_settings,
    gathered,
    hashes_of_gathered,
    templates_of,
)
from normgrowth.commands.ordering import add_order, facts_and_order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_identity(parser)
    add_model(parser)
    add_order(parser)
    add_gathered(parser)
    add_editor(parser)
    parser.add_argument("--edits", required=True, type=int, help="facts to edit: the first of the edit order")
    parser.add_argument("--out", required=True, type=Path, help="table to write")


def run(arguments: argparse.Namespace) -> None:
    """Score single edits and write their table."""
    from normgrowth.facts.orders import steps_of
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tables import write_table
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.measure.scores import score_single_edits
    from normgrowth.runs.segment import Run
    from normgrowth.seeds import derive
    from normgrowth.sources.manifest import revision

    kind, settings = editor_and_settings(arguments)
    _, order = facts_and_order(arguments)
    chosen = steps_of(order, 1, arguments.edits)
    templates = templates_of(arguments, settings)
    lm = load(arguments)
    require_edits(lm, chosen, templates)
    names = arguments.model_name, arguments.editor_name, arguments.order
    editor = kind.build(settings)
    editor.prepare(lm, gathered(arguments, lm, settings, order, derive(arguments.seed, "edit", *names)))
    scores = score_single_edits(lm, editor, editor.begin(lm), chosen)
    fixed = {
        "model_revision": revision(arguments.model),
        "kind": arguments.editor,
        "settings": settings.model_dump(mode="json"),
        "seed": arguments.seed,
        "unique_subjects": arguments.unique_subjects,
        "reserved_facts": arguments.reserved,
        "facts": file_sha256(arguments.facts),
        **hashes_of_gathered(arguments),
    }
    run = Run(arguments.study, *names, fixed)
    metadata = provenance(**run.expected, device=lm.device.type, dtype="float32")
    write_table(arguments.out, run.identify(scores.assign(step=1)), "single_edits", metadata)
