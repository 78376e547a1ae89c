"""Evaluate tasks of the lm-evaluation-harness on a model after some of its edits."""

import argparse
from pathlib import Path

from normgrowth.commands.common import load
from normgrowth.commands.measuring import add_checkpoint, digest_of_state, run_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_checkpoint(parser)
    parser.add_argument("--tasks", required=True, nargs="+", help="tasks, groups or tags of the harness")
    parser.add_argument("--few-shot", type=int, default=0, help="solved examples before each item (default: 0)")
    parser.add_argument("--limit", type=int, help="items of each task (default: all)")
    parser.add_argument("--task-folder", type=Path, help="folder with further tasks, as the harness's YAML files")
    parser.add_argument("--out", required=True, type=Path, help="table to write")


def run(arguments: argparse.Namespace) -> None:
    """Replay the run's states on the unedited model, and write what the tasks say of it."""
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tables import write_table
    from normgrowth.measure.harness import evaluate
    from normgrowth.runs.state import restore

    chosen, lm = run_of(arguments), load(arguments)
    restore(lm, arguments.chain, arguments.segments, chosen.expected)
    rows, harness = evaluate(lm, arguments.tasks, arguments.few_shot, arguments.limit, arguments.task_folder)
    settings = {"tasks": arguments.tasks, "few_shot": arguments.few_shot, "limit": arguments.limit}
    settings["task_files"] = {name: file_sha256(path) for name, path in _files_in(arguments.task_folder).items()}
    of = {**chosen.identity, **chosen.fixed, "step": arguments.step, "state": digest_of_state(arguments)}
    metadata = provenance(**of, ability=settings, harness=harness, device=lm.device.type, dtype="float32")
    write_table(arguments.out, chosen.identify(rows.assign(step=arguments.step)), "downstream", metadata)


def _files_in(folder: Path | None) -> dict[str, Path]:
    """The files of the study's own tasks by their paths in the folder, sorted."""
    found = sorted(folder.rglob("*")) if folder else []
    return {str(p.relative_to(folder)): p for p in found if p.is_file() and "__pycache__" not in p.parts}
