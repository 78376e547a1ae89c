"""Apply one segment of edits to a model and record what they do to it."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model, add_order, load
from normgrowth.commands.gathering import add_gathered, gathered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_identity(parser)
    add_model(parser)
    add_order(parser)
    parser.add_argument("--segment", required=True, type=int, help="number of the segment, from 1")
    parser.add_argument("--first", required=True, type=int, help="first edit of the segment, from 1")
    parser.add_argument("--last", required=True, type=int, help="last edit of the segment")
    add_gathered(parser)
    parser.add_argument("--trajectory", type=Path, nargs="+", help="norms of the run that a control arm follows")
    parser.add_argument("--editor", required=True, help="kind of editor")
    parser.add_argument("--settings", required=True, help="the editor's settings, as JSON")
    parser.add_argument("--chain", required=True, type=Path, help="folder of the run, with the earlier segments")


def run(arguments: argparse.Namespace) -> None:
    """Restore the end of the segment before, edit, and write the segment's folder."""
    from normgrowth.artefacts.provenance import file_sha256
    from normgrowth.assets.models import revision
    from normgrowth.editors.gathered import read_trajectory
    from normgrowth.editors.registry import declaration
    from normgrowth.facts.orders import edit_order, steps_of
    from normgrowth.facts.records import read_facts
    from normgrowth.seeds import derive
    from normgrowth.sequence import Run, run_segment

    kind = declaration(arguments.editor)
    settings = kind.Settings(**json.loads(arguments.settings))
    facts = read_facts(arguments.facts)
    order = edit_order(facts, arguments.seed, arguments.order, arguments.unique_subjects, arguments.reserved)
    chosen = steps_of(order, arguments.first, arguments.last)
    lm = load(arguments)
    names = arguments.model_name, arguments.editor_name, arguments.order
    resources = replace(
        gathered(arguments, lm, settings),
        trajectory=read_trajectory(arguments.trajectory, settings.layers) if arguments.trajectory else {},
        facts=tuple(order),
        seed=derive(arguments.seed, "edit", *names),
    )
    fixed = {
        "model_revision": revision(arguments.model),
        "kind": arguments.editor,
        "settings": settings.model_dump(mode="json"),
        "seed": arguments.seed,
        "unique_subjects": arguments.unique_subjects,
        "reserved_facts": arguments.reserved,
        "facts": file_sha256(arguments.facts),
    }
    for name in ("contexts", "statistics", "null_spaces", "hypernetwork"):
        path = getattr(arguments, name)
        fixed[name] = file_sha256(path) if path else None
    run_segment(
        Run(arguments.study, *names, fixed),
        lm,
        kind.build(settings),
        resources,
        arguments.chain,
        arguments.segment,
        arguments.first,
        chosen,
        settings.batch,
    )
