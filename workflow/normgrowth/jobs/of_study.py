"""Jobs about a whole study, read from its file as the workflow reads it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.jobs.job import Job, Positional


class OfStudy(Job):
    """A study as a file and further values, laid over the default study."""

    study: Annotated[Path | None, Positional()] = Field(
        None, description="study file, laid over the default study (default: config.yaml)"
    )
    config: tuple[str, ...] = Field((), description="further values, as key=value (as for snakemake)")
