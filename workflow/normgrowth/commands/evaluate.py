"""Evaluate tasks of the lm-evaluation-harness on a model after some of its edits."""

import argparse
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model
from normgrowth.commands.ordering import add_order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_identity(parser)
    add_model(parser)
    add_order(parser)
    parser.add_argument("--step", required=True, type=int, help="edits applied; 0 evaluates the unedited model")
    parser.add_argument("--chain", type=Path, help="folder of the run whose states lead to the step")
    parser.add_argument("--segments", type=int, default=0, help="segments that lead to the step")
    parser.add_argument("--tasks", required=True, nargs="+", help="tasks, groups or tags of the harness")
    parser.add_argument("--few-shot", type=int, default=0, help="solved examples before each item (default: 0)")
    parser.add_argument("--limit", type=int, help="items of each task (default: all)")
    parser.add_argument("--task-folder", type=Path, help="folder with further tasks, as the harness's YAML files")
    parser.add_argument("--out", required=True, type=Path, help="table to write")


def run(arguments: argparse.Namespace) -> None:
    """Replay the run's states on the unedited model, and write what the tasks say of it."""
    from normgrowth.artefacts.provenance import file_sha256, provenance
    from normgrowth.artefacts.tables import write_table
    from normgrowth.assets.models import revision
    from normgrowth.commands.common import load
    from normgrowth.measure.harness import evaluate
    from normgrowth.sequence import Run
    from normgrowth.state import restore

    fixed = {"model_revision": revision(arguments.model), "facts": file_sha256(arguments.facts)}
    fixed |= {"seed": arguments.seed, "unique_subjects": arguments.unique_subjects}
    fixed |= {"reserved_facts": arguments.reserved}
    chosen = Run(arguments.study, arguments.model_name, arguments.editor_name, arguments.order, fixed)
    lm = load(arguments)
    restore(lm, arguments.chain, arguments.segments, fixed)
    rows, harness = evaluate(lm, arguments.tasks, arguments.few_shot, arguments.limit, arguments.task_folder)
    settings = {"tasks": arguments.tasks, "few_shot": arguments.few_shot, "limit": arguments.limit}
    metadata = provenance(**fixed, ability=settings, harness=harness, device=lm.device.type, dtype="float32")
    write_table(arguments.out, chosen.identify(rows.assign(step=arguments.step)), "downstream", metadata)
