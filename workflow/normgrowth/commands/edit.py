"""Apply one segment of edits to a model and record what they do to it."""

import argparse
from dataclasses import replace
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
    parser.add_argument("--segment", required=True, type=int, help="number of the segment, from 1")
    parser.add_argument("--first", required=True, type=int, help="first edit of the segment, from 1")
    parser.add_argument("--last", required=True, type=int, help="last edit of the segment")
    parser.add_argument("--of", type=int, help="edits of the run: its first segment looks at all of them beforehand")
    add_gathered(parser)
    parser.add_argument("--trajectory", type=Path, help="norms of the same segment of the run that an arm follows")
    add_editor(parser)
    parser.add_argument("--chain", required=True, type=Path, help="folder of the run, with the earlier segments")


def run(arguments: argparse.Namespace) -> None:
    """Restore the end of the segment before, edit, and write the segment's folder."""
    from normgrowth.editors.resources import read_trajectory
    from normgrowth.facts.orders import steps_of
    from normgrowth.io.provenance import file_sha256
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.runs.segment import Run, Segment, run_segment
    from normgrowth.seeds import derive
    from normgrowth.sources.manifest import revision

    kind, settings = editor_and_settings(arguments)
    _, order = facts_and_order(arguments)
    chosen = steps_of(order, arguments.first, arguments.last)
    # A prompt that is too long is found now, and not at its edit, hours later.
    ahead = steps_of(order, 1, arguments.of) if arguments.segment == 1 and arguments.of else chosen
    templates = templates_of(arguments, settings)
    lm = load(arguments)
    require_edits(lm, ahead, templates)
    names = arguments.model_name, arguments.editor_name, arguments.order
    resources = gathered(arguments, lm, settings, order, derive(arguments.seed, "edit", *names))
    inputs = {
        "model_revision": revision(arguments.model),
        "seed": arguments.seed,
        "unique_subjects": arguments.unique_subjects,
        "reserved_facts": arguments.reserved,
        "facts": file_sha256(arguments.facts),
    }
    of_segment = {}
    if arguments.trajectory:
        followed = {"study": arguments.study, "model": names[0], "editor": settings.editor, "order": names[2]}
        of = {"segment": arguments.segment, **inputs}
        resources = replace(resources, trajectory=read_trajectory(arguments.trajectory, followed, of, settings.layers))
        of_segment = {"trajectory": file_sha256(arguments.trajectory)}
    made_with = {"kind": arguments.editor, "settings": settings.model_dump(mode="json")}
    run_segment(
        Run(arguments.study, *names, {**inputs, **made_with, **hashes_of_gathered(arguments)}, of_segment),
        lm,
        kind.build(settings),
        resources,
        Segment(arguments.chain, arguments.segment, arguments.first, chosen, settings.batch),
    )
