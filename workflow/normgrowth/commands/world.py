"""Write the synthetic world: facts, running text, training corpus."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.jobs.job import Job, from_json
from normgrowth.sources.toy.toy_settings import WorldSettings
from normgrowth.sources.toy.world import WorldFiles, write_world


class World(Job):
    """A world's settings, and where its files are written."""

    settings: Annotated[WorldSettings, from_json(WorldSettings)] = Field(description="the world's settings, as JSON")
    facts: Path = Field(description="facts file to write, in CounterFact's schema")
    text: Path = Field(description="running text to write")
    heldout: Path = Field(description="running text to write that is not trained on")
    corpus: Path = Field(description="training corpus to write, one JSON document a line")


def run(job: World) -> None:
    """Build the world from its seed and write its four files."""
    write_world(job.settings, WorldFiles(job.facts, job.text, job.heldout, job.corpus))
