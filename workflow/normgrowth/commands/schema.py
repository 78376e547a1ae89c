"""Show the JSON schema of a study, or write it and the reference page."""

from pathlib import Path

from pydantic import Field

from normgrowth.errors import StudyError
from normgrowth.jobs.job import Job
from normgrowth.study.reference import REFERENCE_FILE, SCHEMA_FILE, reference_text, schema_text


class Schema(Job):
    """Choice between showing the schema and writing it."""

    write: bool = Field(False, description="write workflow/schemas and docs of the repository in this folder")


def run(job: Schema) -> None:
    """Generate both from the study's models."""
    if not job.write:
        print(schema_text(), end="")
        return
    if not Path("Snakefile").is_file():
        raise StudyError("there is no Snakefile here: run this in the root of the repository")
    Path(SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    Path(REFERENCE_FILE).write_text(reference_text(), encoding="utf-8")
