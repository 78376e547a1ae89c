"""Put the small tables of a study together into one."""

from pathlib import Path

from pydantic import Field

from normgrowth.io.provenance import provenance
from normgrowth.jobs.job import Job


class Collect(Job):
    """A table, and the runs that its rows come from."""

    table: str = Field(description="name of the table")
    study: str = Field(description="name of the study")
    results: Path = Field(description="folder of the study's results")
    chains: tuple[str, ...] = Field(description="model/editor/order of each run")
    segments: int = Field(description="segments of every run")
    checkpoints: tuple[int, ...] = Field(description="steps that are measured, ascending")
    evaluated: tuple[int, ...] = Field((), description="steps at which tasks are evaluated")
    out: Path = Field(description="table to write")


def run(job: Collect) -> None:
    """Read every run's files of the table and write them as one."""
    # pandas: kept out of planning and of --help
    from normgrowth.io.tables import write_table
    from normgrowth.runs.collect import StudyFiles, collect

    files = StudyFiles(
        job.results,
        job.study,
        [(model, editor, int(order)) for model, editor, order in (chain.split("/") for chain in job.chains)],
        job.segments,
        job.checkpoints,
        job.evaluated,
    )
    rows, sources = collect(job.table, files)
    write_table(job.out, rows, job.table, provenance(study=job.study, table=job.table, runs=sources))
