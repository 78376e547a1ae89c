"""Train a whole model on, or compare two checkpoints, and write the norm of every matrix."""

import argparse
import json
from pathlib import Path

from normgrowth.commands.common import add_identity, add_model, load
from normgrowth.io.documents import intact


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
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tables import write_table
    from normgrowth.runs.segment import Run
    from normgrowth.sources.manifest import revision
    from normgrowth.training.norms import compare_checkpoints
    from normgrowth.training.training_settings import InterventionTraining

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
    unedited = load(arguments)  # each run starts from it; a model that is refused is so before progress is told
    with Progress(settings.seeds * settings.steps, what) as progress:
        parts = []
        for number, seed in enumerate(seeds):
            lm = load(arguments) if number else unedited
            parts.append(_trained_once(lm, arguments, settings, seed, progress.update))
    return pd.concat([part.assign(run=k) for k, part in enumerate(parts)], ignore_index=True)


def _trained_once(lm, arguments: argparse.Namespace, settings, seed: int, progress):
    from normgrowth.facts.orthography import joined
    from normgrowth.facts.records import read_facts
    from normgrowth.lm.prompt_lengths import require_prompts, require_windows
    from normgrowth.sources.text import windows
    from normgrowth.training import trainers
    from normgrowth.training.training_settings import CONTINUED_PRETRAINING, FULL_FINE_TUNING

    facts = read_facts(arguments.facts) if arguments.facts else []
    for fact in facts:
        require_prompts(lm, fact, [joined(fact.question, fact.target_true)])
    if arguments.kind == CONTINUED_PRETRAINING:
        require_windows(lm, {f"interventions.{arguments.editor_name}.training.window": settings.window})
        count = settings.steps * settings.batch
        text = windows(arguments.text, lm.tokenizer, settings.window, count, seed, arguments.kind)
        return trainers.continued_pretraining(lm, text, settings, progress)
    train = trainers.full_fine_tuning if arguments.kind == FULL_FINE_TUNING else trainers.lora_fine_tuning
    return train(lm, [(fact.question, fact.target_true) for fact in facts], settings, seed, progress)
