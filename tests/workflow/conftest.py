"""A finished study in a tree of its own, and dry runs in copies of it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from normgrowth.workflow import forks
from tests.support.snakemake_forks import run_snakemake

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "config.yaml", "profiles", "envs", "studies", "workflow")


class Tree:
    """A copy of the repository whose workflow runs with stand-ins for the commands."""

    def __init__(self, folder: Path, cwd: Path | None = None) -> None:
        self.folder = folder
        self.cwd = cwd or folder  # where the workflow runs
        self.package = folder / "workflow" / "normgrowth"

    @classmethod
    def of_repository(cls, folder: Path) -> "Tree":
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / part)
        command = folder / "bin" / "normgrowth"
        command.parent.mkdir()
        stand_in = Path(__file__).with_name("stand_in.py")
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{stand_in}" "$@"\n')
        command.chmod(0o755)
        return cls(folder)

    def copy(self, folder: Path) -> "Tree":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Tree(folder)

    def change_config(self, **values: object) -> None:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))

    def append(self, module: str, line: str) -> None:
        with open(self.package / module, "a") as file:
            file.write(f"\n{line}\n")

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "workflow"),
        }
        if (self.folder / "bin" / "normgrowth").exists():
            environment[forks.VARIABLE] = ""  # stand-ins import nothing that is slow to import
        with tempfile.NamedTemporaryFile() as output:
            code = run_snakemake(list(arguments), self.cwd, environment, Path(output.name))
            return subprocess.CompletedProcess(arguments, code, Path(output.name).read_text())

    def plan(self, *arguments: str) -> "Plan":
        run = self.snakemake("--dry-run", *arguments)
        assert run.returncode == 0, run.stdout
        return Plan(run.stdout)


class Plan:
    """What a dry run says it would do."""

    def __init__(self, output: str) -> None:
        self.output = output
        table = output.split("Job stats:\n")[1].split("\n\n")[0] if "Job stats:" in output else ""
        rows = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
        self.jobs = {rule: int(count) for rule, count in rows if rule not in ("total", "all")}
        self.messages = re.findall(r"^Job \d+: (.*)$", output, re.MULTILINE)

    def about(self, rule_message: str) -> list[str]:
        """Messages of the jobs whose message holds this."""
        return [message for message in self.messages if rule_message in message]


def finished_study(folder: Path, **values: object) -> Tree:
    """The default study without what is its own, `values` among its keys, run to its end with stand-ins in `folder`."""
    tree = Tree.of_repository(folder)
    alone = {"editor_settings": {}, "more_orders": {}, "block": None, "vectors": {}, "measure": {}, "interventions": {}}
    tree.change_config(segment=50, **alone, **values)
    run = tree.snakemake("--cores", "2")
    assert run.returncode == 0, run.stdout
    return tree


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A study of two models, three editors and two segments that has run to its end; not to be changed."""
    return finished_study(tmp_path_factory.mktemp("finished"), edits=100, editors=["ft", "r_rome", "memit"])


@pytest.fixture
def tree(finished, tmp_path):
    """A copy of the finished study, for one test to change."""
    return finished.copy(tmp_path / "tree")
