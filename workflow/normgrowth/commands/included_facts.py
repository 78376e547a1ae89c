"""Write facts that come with the package: a table of the real world, as records in CounterFact's schema."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from normgrowth.facts.almanac.records import almanac_records
from normgrowth.io.documents import write_json
from normgrowth.jobs.job import Job


class IncludedFacts(Job):
    """A set of facts, and the seed that chooses what they are edited to."""

    name: Literal["almanac"] = Field(description="the set")
    seed: int = Field(0, description="decides which other object each fact is edited to")
    limit: int | None = Field(None, description="take only the first so many records")
    out: Path = Field(description="facts file to write, in CounterFact's schema")


def run(job: IncludedFacts) -> None:
    """Make the records from the tables and write them."""
    write_json(job.out, almanac_records(job.seed, job.limit))
