"""Check that a model can be edited: single R-ROME edits must succeed, hold in paraphrases and spare neighbours."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.editors.r_rome import Settings, build
from normgrowth.errors import QualityError
from normgrowth.facts.orders import subset
from normgrowth.facts.records import read_facts
from normgrowth.io.documents import write_json
from normgrowth.jobs.job import from_json
from normgrowth.jobs.with_editor import WithGathered
from normgrowth.sources.manifest import revision
from normgrowth.sources.toy.toy_settings import Vetting

BARS = ("es", "ns", "ps")
"""Scores that must reach a bar."""


class CheckEditable(WithGathered):
    """A model, and the bars that single edits of it must reach."""

    editor_settings: Annotated[Settings, from_json(Settings)] = Field(description="R-ROME's settings, as JSON")
    settings: Annotated[Vetting, from_json(Vetting)] = Field(description="number of facts and the bars, as JSON")
    out: Path = Field(description="JSON file to write")


def run(job: CheckEditable) -> None:
    """Edit a few facts one at a time, each on the unedited model, and hold the scores against the bars."""
    # torch: kept out of planning and of --help
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.measure.scores import score_single_edits

    settings = job.editor_settings
    every = read_facts(job.facts)
    facts = subset(every, job.settings.facts, job.seed, "vetting")
    templates = job.templates(settings)
    lm = job.load()
    require_edits(lm, facts, templates)
    editor = build(settings)
    editor.prepare(lm, job.gathered(lm, settings, every))
    scores = score_single_edits(lm, editor, editor.begin(lm), facts)
    reached = {name: float(scores[name].mean()) for name in BARS}
    bars = {name: float(getattr(job.settings, name)) for name in BARS}
    missed = [
        f"{name.upper()} {reached[name]:.2f} (bar {bar:.2f})" for name, bar in bars.items() if reached[name] < bar
    ]
    if missed:
        raise QualityError(
            f"{len(facts)} single R-ROME edits of {job.model} reach only {', '.join(missed)}: editing this model "
            "would mean little. Train it longer, edit another layer, or lower the bars under model_sources.*.vetting"
        )
    of = {"model": revision(job.model), "seed": job.seed, "editor": settings.model_dump(mode="json")}
    write_json(job.out, {**of, "facts": len(facts), **reached})
