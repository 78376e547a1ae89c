"""Train a whole model on, or compare two checkpoints, and write the norm of every matrix."""

import argparse
import json
from pathlib import Path

from normgrowth.artefacts.documents import intact
from normgrowth.commands.common import add_identity, add_model, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_identity(parser)
    add_model(parser)
    parser.add_argument("--kind", required=True, help="which intervention it is")
    parser.add_argument("--settings", default="{}", help="training, as JSON")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--text", type=intact, help="text to pre-train on")
    parser.add_argument("--facts", type=intact, help="facts whose prompts and true objects to fine-tune on")
    parser.add_argument("--result", type=Path, help="model folder to compare with instead of training")
    parser.add_argument("--out", required=True, type=Path, help="table to write")


def run(arguments: argparse.Namespace) -> None:
    """Train or compare, and write table `interventions`."""
    from normgrowth.artefacts.provenance import file_sha256, provenance
    from normgrowth.artefacts.tables import write_table
    from normgrowth.assets.manifest import revision
    from normgrowth.interventions.difference import compare_checkpoints
    from normgrowth.interventions.settings import InterventionTraining
    from normgrowth.sequence import Run

    fixed = {"model_revision": revision(arguments.model), "kind": arguments.kind, "seed": arguments.seed}
    run = Run(arguments.study, arguments.model_name, arguments.editor_name, arguments.order, fixed)
    of = run.identity | fixed
    # Whatever may be missing is asked for before the work.
    if arguments.result:
        metadata = provenance(**of, result_revision=revision(arguments.result))
        rows = compare_checkpoints(arguments.model, arguments.result)
    else:
        settings = InterventionTraining(**json.loads(arguments.settings))
        data = arguments.text or arguments.facts
        metadata = provenance(**of, settings=settings.model_dump(), data=file_sha256(data))
        rows = _trained(arguments, settings)
    frame = run.identify(rows.assign(kind=arguments.kind))
    # Training runs of other seeds stand where other edit orders stand in other tables.
    frame["order"] += frame.pop("run") if "run" in frame else 0
    write_table(arguments.out, frame, "interventions", metadata)


def _trained(arguments: argparse.Namespace, settings):
    """The norms of each training run, numbered from 0 in column `run`; the first has the study's own seed."""
    import pandas as pd

    from normgrowth.progress import Progress
    from normgrowth.seeds import derive

    seeds = [derive(arguments.seed, "training run", k) if k else arguments.seed for k in range(settings.seeds)]
    what = f"{arguments.editor_name} of {arguments.model_name}, steps"
    with Progress(settings.seeds * settings.steps, what) as progress:
        parts = [_trained_once(arguments, settings, seed, progress.update) for seed in seeds]
    return pd.concat([part.assign(run=k) for k, part in enumerate(parts)], ignore_index=True)


def _trained_once(arguments: argparse.Namespace, settings, seed: int, progress):
    from normgrowth.assets.text import windows
    from normgrowth.facts.records import read_facts
    from normgrowth.interventions import training
    from normgrowth.interventions.settings import CONTINUED_PRETRAINING, FULL_FINE_TUNING
    from normgrowth.prompt_lengths import require_prompts, require_windows
    from normgrowth.writing import joined

    lm = load(arguments)
    facts = read_facts(arguments.facts) if arguments.facts else []
    for fact in facts:
        require_prompts(lm, fact, [joined(fact.question, fact.target_true)])
    if arguments.kind == CONTINUED_PRETRAINING:
        require_windows(lm, {f"interventions.{arguments.editor_name}.training.window": settings.window})
        count = settings.steps * settings.batch
        text = windows(arguments.text, lm.tokenizer, settings.window, count, seed, arguments.kind)
        return training.continued_pretraining(lm, text, settings, progress)
    train = training.full_fine_tuning if arguments.kind == FULL_FINE_TUNING else training.lora_fine_tuning
    return train(lm, [(fact.question, fact.target_true) for fact in facts], settings, seed, progress)
