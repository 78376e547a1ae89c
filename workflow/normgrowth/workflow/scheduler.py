"""What SLURM says of itself, its nodes and this user's jobs."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from normgrowth.errors import ClusterError

SECONDS = 30
"""That a scheduler has to answer."""

UNLIMITED = float("inf")


@dataclass(frozen=True)
class Partition:
    """A partition, and the largest of its nodes."""

    name: str
    is_default: bool
    is_up: bool
    minutes: float  # that a job may take
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


def ask(*command: str) -> str:
    """What a command of SLURM's prints.

    Raises:
        ClusterError: when it is not there, fails, or does not answer.
    """
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not here: run this where SLURM's commands are, on a login node") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{command[0]} has not answered in {SECONDS} s: is slurmctld up?") from None
    if run.returncode:
        raise ClusterError(f"{' '.join(command)} failed: {' '.join(run.stderr.split())}")
    return run.stdout


def configuration() -> dict[str, str]:
    """SLURM's settings by name."""
    lines = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines())
    return {name.strip(): value.strip() for name, sign, value in lines if sign}


def partitions() -> dict[str, Partition]:
    """The partitions, by name."""
    nodes: dict[str, list[list[str]]] = {}
    for line in ask("sinfo", "-h", "-N", "-o", "%P|%a|%l|%c|%m|%G|%N").splitlines():
        name, *of_node = line.split("|")
        nodes.setdefault(name, []).append(of_node)
    return {name.rstrip("*"): _partition(name, of_partition) for name, of_partition in nodes.items()}


def _partition(name: str, nodes: list[list[str]]) -> Partition:
    """A partition from sinfo's lines on its nodes; the default one's name ends in a star."""
    available, limits, cpus, megabytes, devices, names = zip(*nodes, strict=True)
    gpus = [[_gpus(device) for device in re.split(r",(?![^(]*\))", of_node)] for of_node in devices]
    return Partition(
        name.rstrip("*"),
        name.endswith("*"),
        available[0] == "up",
        _minutes(limits[0]),
        max(map(_number, cpus)),
        max(map(_number, megabytes)),
        max(sum(count for _, count in of_node) for of_node in gpus),
        frozenset(model for of_node in gpus for model, _ in of_node if model),
        frozenset(names),
    )


def jobs_of(folder: Path, prefix: str) -> list[Job]:
    """This user's jobs in the queue that were submitted from `folder` under a name that begins with `prefix`."""
    lines = ask("squeue", "-h", "--me", "-o", "%i|%j|%T|%Z").splitlines()
    jobs = [Job(*line.split("|", 3)) for line in lines]
    return [job for job in jobs if job.name.startswith(prefix) and Path(job.folder) == folder]


def _gpus(device: str) -> tuple[str | None, int]:
    """Model and number of a GPU entry of a node (`gpu:h100:4(S:0-1)`); none of any other entry."""
    name, *rest = re.sub(r"\(.*", "", device).split(":")
    if name != "gpu":
        return None, 0
    return (rest[0] if len(rest) == 2 else None), int(rest[-1]) if rest else 1


def _number(text: str) -> int:
    return int(re.match(r"\d*", text)[0] or 0)


def _minutes(text: str) -> float:
    """Of a time limit: days-hours:minutes:seconds, or fewer parts."""
    if text in ("infinite", "UNLIMITED", "n/a"):
        return UNLIMITED
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = [*parts, 0, 0][:3] if days else ([0, 0, *parts][-3:])
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60
