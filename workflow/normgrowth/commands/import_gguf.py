"""Turn a GGUF file, or one inside installed Python packages, into a model folder of float32 safetensors."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from normgrowth.jobs.as_planned import AsPlanned
from normgrowth.sources.gguf_header import Header, named
from normgrowth.sources.packages import files_of


class ImportGguf(AsPlanned):
    """A GGUF file, as a path or as files of packages."""

    path: Path | None = Field(None, description="the file")
    package: tuple[str, ...] = Field((), description="installed packages that hold it, each as name==version")
    files: tuple[str, ...] = Field((), description="its parts in the packages, in their order")
    sha256: str = Field(description="SHA-256 of the whole file")
    out: Path = Field(description="model folder to make")

    @model_validator(mode="after")
    def _is_a_file_or_of_packages(self) -> Self:
        if (self.path is None) == (not self.package) or bool(self.package) != bool(self.files):
            raise ValueError("a GGUF file is --path, or --package and --files")
        return self


def run(job: ImportGguf) -> None:
    """Check the file against its hash and the study, read it by transformers, and write the folder."""
    parts = [job.path] if job.path else files_of(job.package, job.files)

    def as_planned(header: Header) -> None:
        job.require_as_planned(header.layers, header.context, named(parts))

    # torch: kept out of planning and of --help
    from normgrowth.sources.gguf_models import import_gguf

    import_gguf(parts, job.sha256, job.out, as_planned)
