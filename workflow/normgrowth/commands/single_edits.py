"""Edit each of a few facts alone on the unedited model, score it, and undo it."""

from pathlib import Path

from pydantic import Field

from normgrowth.facts.orders import steps_of
from normgrowth.facts.streams import first_edits
from normgrowth.io.provenance import provenance
from normgrowth.jobs.with_editor import EditingInOrder


class SingleEdits(EditingInOrder):
    """An editor, and the facts that it edits one at a time."""

    edits: int = Field(description="facts to edit: the first of the edit order, each once")
    out: Path = Field(description="table to write")


def run(job: SingleEdits) -> None:
    """Score single edits and write their table."""
    # torch: kept out of planning and of --help
    from normgrowth.io.tables import write_table
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.measure.scores import score_single_edits
    from normgrowth.runs.segment import Run

    every, order = job.facts_and_order()
    facts = first_edits(order)
    chosen = steps_of(facts, 1, job.edits)
    templates = job.templates(job.settings)
    lm = job.load()
    require_edits(lm, chosen, templates)
    editor = job.declaration.build(job.settings)
    editor.prepare(lm, job.gathered(lm, job.settings, facts, job.run_seed, job.kept_out(every)))
    scores = score_single_edits(lm, editor, editor.begin(lm), chosen)
    run = Run(job.study, job.model_name, job.editor_name, job.order, {**job.inputs, **job.made_with})
    metadata = provenance(**run.expected, device=lm.device.type, dtype="float32")
    write_table(job.out, run.identify(scores.assign(step=1)), "single_edits", metadata)
