"""Take facts from a file: read them into CounterFact's schema and check every record."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from normgrowth.errors import FactError
from normgrowth.facts.importing import take_facts
from normgrowth.io.documents import write_json
from normgrowth.jobs.job import AsNamed, Job


class ImportFacts(Job):
    """A file of records, and their schema."""

    path: AsNamed = Field(description="JSON list of records")
    format: Literal["counterfact", "zsre"] = Field("counterfact", description="their schema")
    limit: int | None = Field(None, description="take only the first so many records")
    out: Path = Field(description="facts file to write, in CounterFact's schema")


def run(job: ImportFacts) -> None:
    """Check all records, then write them; those in CounterFact's schema stay as they are."""
    taken = take_facts(job.path, job.format, job.limit)
    for reason, count in taken.left_out.items():
        print(f"left out {count} records of {job.path}: {reason}")
    try:
        write_json(job.out, taken.records)
    except RecursionError as error:
        raise FactError(f"{job.path}: its lists and objects are nested too deeply for records") from error
