"""Write an edited model of a study as a folder that transformers loads, with a card and the list of its edits."""

import json
from pathlib import Path

from pydantic import Field

from normgrowth.errors import UsageError
from normgrowth.jobs.of_edited_model import OfEditedModel

SHARD = "5GB"
"""Largest file of weights."""


class Export(OfEditedModel):
    """The model, and where to put it."""

    to: Path = Field(description="new folder to write")


def run(job: Export) -> None:
    """Bring the model to the edit asked for, and save it.

    Raises:
        UsageError: when the folder exists.
    """
    # torch: kept out of --help
    from normgrowth.io.atomic import whole_or_not_at_all
    from normgrowth.report.model_card import card, edits_of
    from normgrowth.runs.edited_models import edited

    if job.to.exists() or job.to.is_symlink():
        raise UsageError(f"--to is {job.to}, which exists: name a new folder")
    chosen = job.run()
    facts = chosen.facts()
    lm = job.load(chosen)
    with edited(lm, chosen), whole_or_not_at_all(job.to) as partial:
        lm.model.save_pretrained(partial, max_shard_size=SHARD)
        lm.tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(card(chosen, facts), encoding="utf-8")
        (partial / "edits.json").write_text(
            json.dumps(edits_of(chosen, facts), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    print(f"{job.to}: {job.model} after {chosen.step} edits by {job.editor}; README.md and edits.json say of what")
    print(f"To share it: hf upload NAME/OF-THE-REPOSITORY {job.to}")
