"""Turn a GGUF file, or one inside installed Python packages, into a model folder of float32 safetensors."""

from pathlib import Path

from pydantic import Field

from normgrowth.errors import UsageError
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

    def parts(self) -> list[Path]:
        """The file, or its parts in their order.

        Raises:
            UsageError: when it is given in neither way, or in both.
            ModelError: when a package is not installed, or does not hold a part.
        """
        if (self.path is None) == (not self.package) or bool(self.package) != bool(self.files):
            raise UsageError("a GGUF file is given as --path, or as --package and --files")
        return [self.path] if self.path else files_of(self.package, self.files)


def run(job: ImportGguf) -> None:
    """Check the file against its hash and the study, read it by transformers, and write the folder."""
    parts = job.parts()

    def as_planned(header: Header) -> None:
        job.require_as_planned(header.layers, header.context, named(parts))

    # torch: kept out of planning and of --help
    from normgrowth.sources.gguf_models import import_gguf

    import_gguf(parts, job.sha256, job.out, as_planned)
