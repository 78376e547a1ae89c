"""A cluster: resources that its own file gives jobs, and SLURM's settings, partitions and jobs of this user."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from normgrowth.errors import ClusterError, StudyError
from normgrowth.study.bounds import read_yaml
from normgrowth.study.messages import describe, together
from normgrowth.study.sections import Section

TIMEOUT = 30
"""Timeout of SLURM's commands, in seconds."""

UNLIMITED = float("inf")

SbatchWord = Field(None, pattern=r"^[A-Za-z0-9_.:,&|@-]+$")
"""Value that becomes a word of an sbatch command."""


class Target(Section):
    """Part of the cluster that a kind of jobs runs on."""

    partition: str | None = SbatchWord
    constraint: str | None = SbatchWord
    qos: str | None = SbatchWord


class GpuTarget(Target):
    """Part of the cluster that jobs with a GPU run on, and the GPU's model."""

    model: str | None = SbatchWord


class Site(Section):
    """The file `profiles/slurm/site.yaml`; what it leaves out is left to the scheduler."""

    account: str | None = SbatchWord
    gpu: GpuTarget = GpuTarget()
    cpu: Target = Target()
    shared_folder: bool = False

    def resources(self, with_gpu: bool) -> dict[str, str]:
        """Resources that the site gives a job, by their names in Snakemake's SLURM plugin."""
        target = self.gpu if with_gpu else self.cpu
        found = {
            "slurm_account": self.account,
            "slurm_partition": target.partition,
            "constraint": target.constraint,
            "qos": target.qos,
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
        raise StudyError(f"error in {path}: {together(describe(error, Site))}") from error


@dataclass(frozen=True)
class Partition:
    """A partition, and the largest of its nodes."""

    name: str
    is_default: bool
    is_up: bool
    minutes: float  # time limit of a job
    cpus: int
    megabytes: int
    gpus: int
    gpu_models: frozenset[str]
    nodes: frozenset[str]


@dataclass(frozen=True)
class Job:
    """A job of this user in the queue."""

    number: str
    name: str
    state: str
    folder: str


class _Node(NamedTuple):
    """A line of sinfo on a node of a partition."""

    availability: str
    time_limit: str
    cpus: str
    megabytes: str
    devices: str
    name: str


def ask(*command: str) -> str:
    """Output of one of SLURM's commands.

    Raises:
        ClusterError: when it is not there, fails, or does not answer.
    """
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not here: run this where SLURM's commands are, on a login node") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{command[0]} has not answered in {TIMEOUT} s: is slurmctld up?") from None
    if run.returncode:
        raise ClusterError(f"{' '.join(command)} failed: {' '.join(run.stderr.split())}")
    return run.stdout


def configuration() -> dict[str, str]:
    """SLURM's settings by name."""
    lines = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines())
    return {name.strip(): value.strip() for name, sign, value in lines if sign}


def partitions() -> dict[str, Partition]:
    """The partitions, by name."""
    nodes: dict[str, list[_Node]] = {}
    for line in ask("sinfo", "-h", "-N", "-o", "%P|%a|%l|%c|%m|%G|%N").splitlines():
        name, *columns = line.split("|")
        nodes.setdefault(name, []).append(_Node(*columns))
    return {name.rstrip("*"): _partition(name, of_partition) for name, of_partition in nodes.items()}


def jobs_of(folder: Path, prefix: str) -> list[Job]:
    """Jobs of this user in the queue that were submitted from `folder` under a name that begins with `prefix`."""
    lines = ask("squeue", "-h", "--me", "-o", "%i|%j|%T|%Z").splitlines()
    jobs = [Job(*line.split("|", 3)) for line in lines]
    return [job for job in jobs if job.name.startswith(prefix) and Path(job.folder) == folder]


def _partition(name: str, nodes: list[_Node]) -> Partition:
    """A partition from sinfo's lines on its nodes; the default one's name ends in a star."""
    gpus = [[_gpus(device) for device in re.split(r",(?![^(]*\))", node.devices)] for node in nodes]
    return Partition(
        name=name.rstrip("*"),
        is_default=name.endswith("*"),
        is_up=nodes[0].availability == "up",
        minutes=_minutes(nodes[0].time_limit),
        cpus=_largest(node.cpus for node in nodes),
        megabytes=_largest(node.megabytes for node in nodes),
        gpus=max(sum(count for _, count in of_node) for of_node in gpus),
        gpu_models=frozenset(model for of_node in gpus for model, _ in of_node if model),
        nodes=frozenset(node.name for node in nodes),
    )


def _gpus(device: str) -> tuple[str | None, int]:
    """Model and number of a GPU entry of a node (`gpu:h100:4(S:0-1)`); none of any other entry."""
    name, *rest = re.sub(r"\(.*", "", device).split(":")
    if name != "gpu":
        return None, 0
    return (rest[0] if len(rest) == 2 else None), int(rest[-1]) if rest else 1


def _largest(numbers: Iterable[str]) -> int:
    """The largest of numbers as sinfo prints them, a sign for `or more` behind some; 0 for what is no number."""
    digits = (re.match(r"\d+", text) for text in numbers)
    return max(int(found[0]) if found else 0 for found in digits)


def _minutes(text: str) -> float:
    """Minutes of a time limit: days-hours:minutes:seconds, or fewer parts."""
    if text in ("infinite", "UNLIMITED", "n/a"):
        return UNLIMITED
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    # After days, hours come first and later parts may be missing; without days, seconds come last.
    seconds_of = (3600, 60, 1)[: len(parts)] if days else (3600, 60, 1)[-len(parts) :]
    seconds = sum(part * unit for part, unit in zip(parts, seconds_of, strict=True))
    return int(days or 0) * 1440 + seconds / 60
