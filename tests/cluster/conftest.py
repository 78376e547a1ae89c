"""A cluster for the tests of this folder, and a study run on it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normgrowth.io.tables import read_table
from tests.cluster.slurm import Slurm, why_not
from tests.support.signals import HEEDED
from tests.workflow.conftest import Tree

TIMES = ("timing.parquet", "speed.parquet", "report.html", "report.html.sha256")
"""Files that hold wall times, which differ from run to run."""

UNDER_THE_PROFILE = ("--profile", "profiles/slurm", "--configfile", "config.yaml")
UNDER_THE_PROFILE += ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")  # impatiently
PATIENCE = 1200


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A cluster of four processors and two GPUs."""
    if reason := why_not():
        pytest.skip(reason)
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def start(tree: Tree, slurm: Slurm, *arguments: str) -> subprocess.Popen:
    """Snakemake under the profile, as a user starts it."""
    path = os.pathsep.join([str(tree.folder / "bin"), slurm.environment["PATH"]])
    environment = os.environ | slurm.environment | {"PATH": path, "PYTHONPATH": str(tree.folder / "workflow")}
    with open(tree.folder / "head.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments, *UNDER_THE_PROFILE],
            cwd=tree.folder,
            env=environment,
            stdout=log,
            stderr=log,
            **HEEDED,
        )


def said(tree: Tree) -> str:
    """What Snakemake has said."""
    return (tree.folder / "head.log").read_text()


def finish(head: subprocess.Popen, tree: Tree) -> None:
    """Wait for a run that is to succeed."""
    assert head.wait(PATIENCE) == 0, said(tree)


def run(tree: Tree, slurm: Slurm, *arguments: str) -> None:
    """A run that is to succeed."""
    finish(start(tree, slurm, *arguments), tree)


def wait_until(condition, what: str, head: subprocess.Popen | None = None, tree: Tree | None = None):
    """The first true value of a condition."""
    deadline = time.monotonic() + 300
    while not (found := condition()):
        ended = head is not None and head.poll() is not None
        assert time.monotonic() < deadline and not ended, f"{what} did not come\n{said(tree) if tree else ''}"
        time.sleep(0.1)
    return found


def results(tree: Tree) -> dict[Path, bytes]:
    """The bytes of every result that holds no times."""
    folder = tree.folder / "results"
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return {file.relative_to(folder): _without_times(file) for file in files if file.name not in TIMES}


def _without_times(file: Path) -> bytes:
    if file.parent.name == "tables" and file.name == "edits.parquet":  # the one table with times among its columns
        return read_table(file).drop(columns="edit_seconds").to_csv().encode()
    return file.read_bytes()
