"""Keep the facts that a model knows: unedited, it completes the prompt with the true object, token by token."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.errors import FactError
from normgrowth.facts.json_files import read_records
from normgrowth.facts.orders import edit_order
from normgrowth.facts.records import Fact, facts_of
from normgrowth.facts.streams import ONCE, Stream, first_edits
from normgrowth.io.documents import write_json
from normgrowth.jobs.job import Intact, from_json
from normgrowth.jobs.on_model import OnModel

REMEDY = "give more facts or another model, or take `known` out of the source"


class KnownFacts(OnModel):
    """A model, facts, and how many of those it must know."""

    facts: Intact = Field(description="facts file, a JSON list of CounterFact records")
    needed: int = Field(1, description="facts that can be edited, at least")
    seed: int = Field(0, description="seed of the study")
    unique_subjects: bool = Field(False, description="edit no subject twice in an order")
    reserved: int = Field(0, description="facts kept out of all orders")
    stream: Annotated[Stream, from_json(Stream)] = Field(ONCE, description="edits of facts edited before, as JSON")
    out: Path = Field(description="facts file to write")


def run(job: KnownFacts) -> None:
    """Ask the model about every fact, and write the records of those that it knows, as they are.

    Raises:
        FactError: when they are none, or fewer than the study needs; when a prompt is longer than the model's context.
    """
    # torch: kept out of planning and of --help
    from normgrowth.lm.prompt_lengths import require_question
    from normgrowth.measure.knowledge import says_true_object

    records = read_records(job.facts)
    facts = facts_of(records, job.facts)
    lm = job.load()
    for fact in facts:
        require_question(lm, fact)
    known = says_true_object(lm, facts)
    _require_enough(job, [fact for fact, is_known in zip(facts, known, strict=True) if is_known], len(facts))
    write_json(job.out, [record for record, is_known in zip(records, known, strict=True) if is_known])
    print(f"{job.model.name} knows {sum(known)} of {len(facts)} facts")


def _require_enough(job: KnownFacts, known: list[Fact], asked: int) -> None:
    """Refuse facts of which a study could not draw its edit orders.

    Raises:
        FactError: naming how many are known, how many are needed, and the remedy.
    """
    if not known:
        raise FactError(f"{job.model.name} knows none of the {asked} facts of {job.facts}: {REMEDY}")
    order = edit_order(known, job.seed, 0, job.unique_subjects, job.reserved, stream=job.stream)
    left = len(first_edits(order))
    if left < job.needed:
        subjects = " with distinct subjects" if job.unique_subjects else ""
        less = f", {job.reserved} reserved ones apart" if job.reserved else ""
        raise FactError(
            f"{job.model.name} knows {len(known)} of the {asked} facts of {job.facts}; {left}{subjects} can be edited"
            f"{less}, and the study needs {job.needed}: lower edits, single_edits, block or reserved, {REMEDY}"
        )
