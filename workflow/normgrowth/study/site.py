"""What a cluster's own file says: the account, partitions and GPUs that jobs ask for."""

from pathlib import Path

from pydantic import Field, ValidationError

from normgrowth.errors import StudyError
from normgrowth.study.bounds import read_yaml
from normgrowth.study.messages import describe, together
from normgrowth.study.sections import Section

Word = Field(None, pattern=r"^[A-Za-z0-9_.:,&|@-]+$")
"""These become words of an sbatch command."""


class Kind(Section):
    """Where jobs of a kind run."""

    partition: str | None = Word
    constraint: str | None = Word
    qos: str | None = Word


class GpuKind(Kind):
    """Where jobs with a GPU run, and on which."""

    model: str | None = Word


class Site(Section):
    """The file `profiles/slurm/site.yaml`; what it leaves out is left to the scheduler."""

    account: str | None = Word
    gpu: GpuKind = GpuKind()
    cpu: Kind = Kind()
    shared_folder: bool = False

    def resources(self, with_gpu: bool) -> dict[str, str]:
        """The resources, in the words of Snakemake's SLURM plugin, that a job has because of the site."""
        kind = self.gpu if with_gpu else self.cpu
        found = {
            "slurm_account": self.account,
            "slurm_partition": kind.partition,
            "constraint": kind.constraint,
            "qos": kind.qos,
            "gpu_model": self.gpu.model if with_gpu else None,
        }
        return {name: value for name, value in found.items() if value is not None}


def read_site(path: Path) -> Site:
    """The site of a file; an empty one where there is no file.

    Raises:
        StudyError: naming each key at fault.
    """
    try:
        given = read_yaml(path.read_text(encoding="utf-8"), path) or {}
    except FileNotFoundError:
        return Site()
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8: {error}") from None
    if not isinstance(given, dict):
        raise StudyError(f"{path} holds no keys")
    try:
        return Site(**given)
    except ValidationError as error:
        raise StudyError(f"error in {path}: {together(describe(error, Site, given))}") from error
