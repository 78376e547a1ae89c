"""Apply one segment of edits to a model and record what they do to it."""

import argparse
import json
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model, add_order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_identity(parser)
    add_model(parser)
    add_order(parser)
    parser.add_argument("--segment", required=True, type=int, help="number of the segment, from 1")
    parser.add_argument("--first", required=True, type=int, help="first edit of the segment, from 1")
    parser.add_argument("--last", required=True, type=int, help="last edit of the segment")
    parser.add_argument("--contexts", required=True, type=Path, help="context templates of the model")
    parser.add_argument("--statistics", type=Path, help="second moments, for editors that need them")
    parser.add_argument("--editor", required=True, help="kind of editor")
    parser.add_argument("--settings", required=True, help="the editor's settings, as JSON")
    parser.add_argument("--chain", required=True, type=Path, help="folder of the run, with the earlier segments")


def run(arguments: argparse.Namespace) -> None:
    """Restore the end of the segment before, edit, and write the segment's folder."""
    from normgrowth.artefacts.provenance import file_sha256
    from normgrowth.assets.models import revision
    from normgrowth.commands.common import load
    from normgrowth.editors.interface import Resources
    from normgrowth.editors.registry import declaration
    from normgrowth.facts.orders import edit_order, steps_of
    from normgrowth.facts.records import read_facts
    from normgrowth.sequence import Run, run_segment

    editor_kind = declaration(arguments.editor)
    settings = editor_kind.Settings(**json.loads(arguments.settings))
    order = edit_order(read_facts(arguments.facts), arguments.seed, arguments.order, arguments.unique_subjects)
    facts = steps_of(order, arguments.first, arguments.last)
    lm = load(arguments)
    resources = Resources(
        contexts=json.loads(arguments.contexts.read_text(encoding="utf-8")),
        second_moments=read_second_moments(arguments.statistics, arguments.model) if arguments.statistics else {},
    )
    fixed = {
        "model_revision": revision(arguments.model),
        "kind": arguments.editor,
        "settings": settings.model_dump(mode="json"),
        "seed": arguments.seed,
        "unique_subjects": arguments.unique_subjects,
        "facts": file_sha256(arguments.facts),
        "contexts": file_sha256(arguments.contexts),
        "statistics": file_sha256(arguments.statistics) if arguments.statistics else None,
    }
    run_segment(
        Run(arguments.study, arguments.model_name, arguments.editor_name, arguments.order, fixed),
        lm,
        editor_kind.build(settings),
        resources,
        arguments.chain,
        arguments.segment,
        arguments.first,
        facts,
        settings.batch,
    )


def read_second_moments(path: Path, model: Path) -> dict:
    """Second moments by layer, refused when they were gathered on another model."""
    from normgrowth.artefacts.tensors import read_tensors
    from normgrowth.assets.models import revision
    from normgrowth.editors.statistics import SecondMoment
    from normgrowth.errors import ArtefactError

    tensors, metadata = read_tensors(path)
    if metadata["model"] != revision(model):
        raise ArtefactError(
            f"{path} was gathered on a model with revision {metadata['model']}, but {model} has {revision(model)}; "
            "delete it and run the workflow again"
        )
    return {layer: SecondMoment(tensors[f"moment.{layer}"], metadata["count"], layer) for layer in metadata["layers"]}
