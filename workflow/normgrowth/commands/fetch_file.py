"""Fetch a file of facts or text that is pinned by its hash."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.job import Job
from normgrowth.sources.web import download


class FetchFile(Job):
    """A file of the web, and its hash."""

    url: str = Field(description="address of the file, http or https")
    sha256: str = Field(description="SHA-256 of the file, in hexadecimal")
    bytes: int | None = Field(None, description="size of the file, checked before it is fetched")
    out: Path = Field(description="file to write")


def run(job: FetchFile) -> None:
    """Fetch the file, or resume a download that was cut off."""
    download(job.url, job.out, job.sha256, job.bytes)
