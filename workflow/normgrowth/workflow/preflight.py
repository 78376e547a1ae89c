"""Checks of a cluster before anything is submitted: jobs that would hang, be refused or be lost, with remedies."""

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from normgrowth.errors import ClusterError, StudyError
from normgrowth.study.costs import costs
from normgrowth.study.plan import Plan
from normgrowth.study.requests import Request, requests
from normgrowth.workflow import cluster
from normgrowth.workflow.cluster import Partition, Site

SITE_FILE = "profiles/slurm/site.yaml"
STORAGE = "AccountingStorageType"
LONGEST_PAUSE = 180
"""Most seconds between two looks at the queue: Snakemake waits forever for a job that SLURM forgets sooner."""

OF_ONE_MACHINE = {"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs"}
"""File systems that other machines do not see unless this one exports them."""


@dataclass(frozen=True)
class Executor:
    """Settings of Snakemake's SLURM plugin."""

    status_command: str | None
    first_look: int  # seconds from a submission to the first look at its job
    prefix: str  # of jobs' names


def examine(plan: Plan, site: Site, executor: Executor, folder: Path) -> None:
    """Check the cluster against what the plan's jobs need.

    Args:
        plan: plan of the study.
        site: settings of the cluster's own file.
        executor: settings of Snakemake's SLURM plugin.
        folder: working directory of the run.

    Raises:
        ClusterError: with every fault and its remedy, or when SLURM does not answer.
    """
    settings, partitions = cluster.configuration(), cluster.partitions()
    faults = [
        *_status(settings, executor),
        *_jobs(plan, site, partitions),
        *_account(settings, site),
        *_folder(site, partitions, folder),
        *_disk(plan, folder),
        *_orphans(executor, folder),
    ]
    if faults:
        raise ClusterError(f"not started, because on this cluster: {'; '.join(faults)}")


def _status(settings: dict[str, str], executor: Executor) -> Iterator[str]:
    """Faults of the status command, which reports how jobs ended."""
    has_database = _has_database(settings)
    if executor.status_command != "squeue":
        if not has_database:
            yield (
                f"sacct has no database to ask (AccountingStorageType is {settings.get(STORAGE, 'unset')}), so that "
                "Snakemake would wait forever for finished jobs: set slurm-status-command: squeue"
            )
        return
    kept = int(settings.get("MinJobAge", "0 sec").split()[0])
    least = max(3 * executor.first_look, LONGEST_PAUSE)
    if kept < least:
        sacct = "set slurm-status-command: sacct"
        longer = f"have the administrators set MinJobAge={least} in slurm.conf"
        yield (
            f"SLURM forgets a job {kept} s after its end (MinJobAge), and up to {least} s pass between two looks at "
            f"the queue: {sacct if has_database else longer}"
        )


def _has_database(settings: dict[str, str]) -> bool:
    return settings.get(STORAGE, "").endswith("slurmdbd")


def _jobs(plan: Plan, site: Site, partitions: dict[str, Partition]) -> Iterator[str]:
    """Requests that no node of their partition can meet, or whose partition is not there."""
    said: set[str] = set()
    for request in requests(plan):
        target = site.gpu if request.gpus else site.cpu
        key = f"{'gpu' if request.gpus else 'cpu'}.partition in {SITE_FILE}"
        partition = _partition(target.partition, partitions)
        if partition is None:
            fault = (
                f"there is no partition {target.partition!r} (there are {', '.join(sorted(partitions))}): mend {key}"
                if target.partition
                else f"no partition is the default: set {key} to one of {', '.join(sorted(partitions))}"
            )
        else:
            fault = "; ".join(_shortcomings(request, partition, site, plan, key))
        if fault and fault not in said:
            said.add(fault)
            yield fault


def _partition(name: str | None, partitions: dict[str, Partition]) -> Partition | None:
    if name:
        return partitions.get(name)
    return next((partition for partition in partitions.values() if partition.is_default), None)


def _shortcomings(request: Request, partition: Partition, site: Site, plan: Plan, key: str) -> Iterator[str]:
    """Faults of a partition for a request; `key` says where the user chose the partition."""
    name = partition.name
    if not partition.is_up:
        yield f"partition {name} is down: set {key} to another"
    if request.minutes > partition.minutes:
        shorter = "make `segment` smaller, or " if request.what.startswith("edit") else ""
        yield (
            f"{request.what} asks for {request.minutes} minutes and partition {name} gives {partition.minutes:g}: "
            f"{shorter}set {key} to one that gives more"
        )
    if request.megabytes > partition.megabytes:
        yield (
            f"{request.what} asks for {request.megabytes:,} MB and no node of partition {name} has more than "
            f"{partition.megabytes:,}: set {key} to one with larger nodes"
        )
    if plan.study.threads > partition.cpus:
        yield (
            f"jobs ask for {plan.study.threads} threads and no node of partition {name} has more than "
            f"{partition.cpus}: lower `threads`"
        )
    if request.gpus > partition.gpus:
        has = f"has more than {partition.gpus}" if partition.gpus else "has any"
        yield f"jobs ask for {request.gpus} GPUs and no node of partition {name} {has}: set {key}, or `device: cpu`"
    elif request.gpus and site.gpu.model and site.gpu.model not in partition.gpu_models:
        known = ", ".join(sorted(partition.gpu_models)) or "none by model"
        yield f"partition {name} has no GPU of model {site.gpu.model!r} (it has {known}): mend gpu.model in {SITE_FILE}"


def _account(settings: dict[str, str], site: Site) -> Iterator[str]:
    """Fault of the account that jobs are charged to."""
    if not site.account or not _has_database(settings):
        return
    known = set(cluster.ask("sacctmgr", "-n", "-P", "show", "assoc", "format=account").split())
    if site.account not in known:
        there_are = ", ".join(sorted(known))
        yield f"there is no account {site.account!r} (there are {there_are}): mend account in {SITE_FILE}"


def _folder(site: Site, partitions: dict[str, Partition], folder: Path) -> Iterator[str]:
    """Fault of a working directory that other machines do not see."""
    others = {node for partition in partitions.values() for node in partition.nodes} - {_this_host()}
    kind = _file_system(folder)
    if others and kind in OF_ONE_MACHINE and not site.shared_folder:
        yield (
            f"{folder} lies on a file system of this machine ({kind}), which nodes do not see: work in a shared "
            f"folder, or say shared_folder: true in {SITE_FILE} where they do"
        )


def _this_host() -> str:
    return socket.gethostname().split(".")[0]


def _file_system(folder: Path) -> str | None:
    """Type of the file system that a folder lies on; None where that cannot be told."""
    deepest, kind = "", None
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return None
    for line in mounts:
        _, place, found, *_ = line.split()
        if len(place) >= len(deepest) and (folder == Path(place) or Path(place) in folder.parents):
            deepest, kind = place, found
    return kind


def _disk(plan: Plan, folder: Path) -> Iterator[str]:
    """Fault of a disk that cannot hold the study's states."""
    try:
        needed = sum(row.disk for row in costs(plan.study))
    except StudyError:
        return  # the size of a model is not known yet
    free = shutil.disk_usage(folder).free / 1e9
    if needed > free:
        yield (
            f"the study's states take {needed:.0f} GB, and {folder} has {free:.0f} GB free: free some, or run fewer "
            "editors, orders or edits"
        )


def _orphans(executor: Executor, folder: Path) -> Iterator[str]:
    """Jobs of an earlier run from this folder that are still in the queue."""
    # A job that fails or is cancelled deletes its outputs, even if another job has written them by now.
    orphans = cluster.jobs_of(folder, executor.prefix) if executor.prefix else []
    if orphans:
        numbers = ",".join(job.number for job in orphans)
        yield (
            f"jobs of an earlier run from this folder are still in the queue: {numbers}. Let them end, or "
            f"`scancel {numbers}`, and start again"
        )
