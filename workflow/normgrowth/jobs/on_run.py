"""Jobs of a run: its names in every table, and the edit order that it follows."""

from typing import Annotated

from pydantic import Field

from normgrowth.facts.orders import edit_order, reserved_facts
from normgrowth.facts.records import Fact, read_facts
from normgrowth.facts.streams import ONCE, Stream
from normgrowth.io.provenance import file_sha256
from normgrowth.jobs.job import Intact, Job, from_json
from normgrowth.jobs.on_model import OnModel
from normgrowth.sources.manifest import said_of_model


class OfRun(Job):
    """The names of a run, which stand in the identity columns of every table."""

    study: str = Field(description="name of the study")
    model_name: str = Field(description="name of the model in the study")
    editor_name: str = Field(description="name of the editor in the study")
    order: int = Field(description="number of the edit order, from 0")


class InOrder(OfRun):
    """An edit order: the facts, and what draws it from them."""

    facts: Intact = Field(description="facts file, a JSON list of CounterFact records")
    seed: int = Field(description="seed of the study")
    unique_subjects: bool = Field(False, description="edit no subject twice in an order")
    reserved: int = Field(0, description="facts kept out of all orders")
    block: int | None = Field(None, description="facts that the order begins with and no other order does")
    stream: Annotated[Stream, from_json(Stream)] = Field(ONCE, description="edits of facts edited before, as JSON")

    def facts_and_order(self) -> tuple[list[Fact], list[Fact]]:
        """All facts, and the edits of the order, step by step.

        Raises:
            FactError: when a record is wrong, too many facts are reserved, or a relation has too few objects.
        """
        facts = read_facts(self.facts)
        drawn_by = self.seed, self.order, self.unique_subjects, self.reserved, self.block, self.stream
        return facts, edit_order(facts, *drawn_by)

    def kept_out(self, facts: list[Fact]) -> list[Fact]:
        """Those of all facts that stand in no order."""
        return reserved_facts(facts, self.seed, self.reserved)


class OnRun(OnModel, InOrder):
    """A run of a model: the model and the edit order."""

    @property
    def inputs(self) -> dict[str, object]:
        """Inputs that decide the edits, the editor aside: hashes and settings, as states and tables record them."""
        return {
            **said_of_model(self.model),
            "seed": self.seed,
            "unique_subjects": self.unique_subjects,
            "reserved_facts": self.reserved,
            "block": self.block,
            "stream": self.stream.model_dump(mode="json") if self.stream.active else None,
            "facts": file_sha256(self.facts),
        }
