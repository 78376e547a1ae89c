"""Check that a model can be edited: single R-ROME edits must succeed, hold in paraphrases and spare neighbours."""

import argparse
import json
from pathlib import Path

from normgrowth.commands.common import add_model, load
from normgrowth.commands.gathering import add_gathered, gathered, templates_of
from normgrowth.io.documents import intact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--facts", required=True, type=intact, help="facts file, a JSON list of CounterFact records")
    add_gathered(parser)
    parser.add_argument("--editor-settings", required=True, help="R-ROME's settings, as JSON")
    parser.add_argument("--settings", required=True, help="number of facts and the bars, as JSON")
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")


def run(arguments: argparse.Namespace) -> None:
    """Edit a few facts one at a time, each on the unedited model, and hold the scores against the bars."""
    from normgrowth.editors.r_rome import Settings, build
    from normgrowth.errors import QualityError
    from normgrowth.facts.orders import subset
    from normgrowth.facts.records import read_facts
    from normgrowth.io.documents import write_json
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.measure.scores import score_single_edits
    from normgrowth.sources.manifest import revision

    bars = json.loads(arguments.settings)
    settings = Settings(**json.loads(arguments.editor_settings))
    every = read_facts(arguments.facts)
    facts = subset(every, bars.pop("facts"), arguments.seed, "vetting")
    templates = templates_of(arguments, settings)
    lm = load(arguments)
    require_edits(lm, facts, templates)
    editor = build(settings)
    editor.prepare(lm, gathered(arguments, lm, settings, every))
    scores = score_single_edits(lm, editor, editor.begin(lm), facts)
    reached = {name: float(scores[name].mean()) for name in bars}
    missed = [
        f"{name.upper()} {reached[name]:.2f} (bar {bar:.2f})" for name, bar in bars.items() if reached[name] < bar
    ]
    if missed:
        raise QualityError(
            f"{len(facts)} single R-ROME edits of {arguments.model} reach only {', '.join(missed)}: editing this model "
            "would mean little. Train it longer, edit another layer, or lower the bars under model_sources.*.vetting"
        )
    of = {"model": revision(arguments.model), "seed": arguments.seed, "editor": settings.model_dump(mode="json")}
    write_json(arguments.out, {**of, "facts": len(facts), **reached})
