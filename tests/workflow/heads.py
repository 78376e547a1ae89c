"""Runs of the workflow as processes of their own, whose commands wait where a test wants them to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from normgrowth.workflow import forks, processes
from tests.support.signals import HEEDED
from tests.workflow.conftest import Tree

WAITING = """\
#!/bin/sh
if [ "$1" = "$HOLD" ]; then
    touch "$MARK"
    while [ ! -e go ]; do sleep 0.05; done
fi
exec "{python}" -S "{stand_in}" "$@"
"""


def waiting_tree(folder: Path) -> Tree:
    """A small study whose stand-ins wait where the variable HOLD names their command, until a file `go` is there."""
    folder.mkdir()
    tree = Tree.of_repository(folder)
    tree.change_config(models=["world-gpt2"], editors=["ft"], edits=2, segment=1, single_edits=0)
    tree.change_config(
        editor_settings={}, more_orders={}, block=None, vectors={}, measure={}, interventions={}, left_out={}
    )
    stand_in = Path(__file__).with_name("stand_in.py")
    (folder / "bin/normgrowth").write_text(WAITING.format(python=sys.executable, stand_in=stand_in))
    return tree


class Head:
    """A run of a tree's workflow, in the background."""

    going: ClassVar[list["Head"]] = []

    def __init__(self, tree: Tree, *arguments: str, hold: str = "", preloading: str | None = "") -> None:
        self.tree = tree
        self.mark = tree.folder / f"held-{time.monotonic_ns()}"
        self.log = tree.folder / f"{self.mark.name}.log"
        environment = os.environ | {"HOLD": hold, "MARK": str(self.mark), "PYTHONPATH": str(tree.folder / "workflow")}
        environment["PATH"] = f"{tree.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        if preloading is not None:
            environment[forks.VARIABLE] = preloading
        with open(self.log, "wb") as log:
            command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
            self.process = subprocess.Popen(
                command, cwd=tree.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **HEEDED
            )

        self.going.append(self)

    @classmethod
    def end_all(cls) -> None:
        """Kill what a test left."""
        while cls.going:
            cls.going.pop().kill()

    @property
    def said(self) -> str:
        return self.log.read_text()

    def lines(self) -> list[str]:
        """What normgrowth said, not Snakemake."""
        return [line for line in self.said.splitlines() if line.startswith("normgrowth: ") and "preset" not in line]

    def held(self) -> "Head":
        """Wait until a command waits."""
        until(lambda: self.mark.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        return self

    def end(self, code: int = 0) -> "Head":
        """Wait for the end, which is to be this exit code."""
        assert self.process.wait(180) == code, self.said
        return self

    def kill(self) -> "Head":
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return self

    def left(self) -> list[int]:
        """Its processes that live, by its record."""
        (record,) = [one for one in records(self.tree) if one["process"] == self.process.pid]
        return processes.of_run(record["name"], record["allocation"])


def records(tree: Tree) -> list[dict]:
    """What runs have written beside their locks."""
    return [json.loads(file.read_bytes()) for file in sorted((tree.cwd / ".snakemake/locks").glob("*.run.json"))]


def watchers(run: str) -> list[int]:
    """The processes that watch a run."""
    words = f"normgrowth.workflow.processes\0{run}\0".encode()
    return [int(file.parent.name) for file in Path("/proc").glob("[0-9]*/cmdline") if words in _bytes(file)]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def until(condition, seconds: float = 90):
    """The first true value of a condition."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
