"""Write the report page of a study."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.job import Job


class Report(Job):
    """A study's results, and the figures to show."""

    study: str = Field(description="name of the study")
    results: Path = Field(description="folder of the study's results")
    figures: tuple[str, ...] = Field((), description="names of the figures to show, in this order")
    logs: Path | None = Field(None, description="folder of the workflow's logs, for what jobs asked for and used")
    out: Path = Field(description="HTML file to write")


def run(job: Report) -> None:
    """Put claims, figures, tables and provenance into one page."""
    # pandas: kept out of planning and of --help
    from normgrowth.report.page import write_report

    write_report(job.study, job.results, list(job.figures), job.out, job.logs)
