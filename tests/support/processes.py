"""Commands of normgrowth's in processes of their own, forked from one that has the libraries imported.

Importing them takes longer than a small command does.
"""

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from typing import BinaryIO, NamedTuple

from normgrowth.cli import main
from normgrowth.workflow.forks import SLOW_MODULES

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(SLOW_MODULES))


class Running(NamedTuple):
    """A process that runs a command, and what it writes on standard error."""

    process: multiprocessing.process.BaseProcess
    stderr: BinaryIO

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.join()


def start(words: list[str]) -> Running:
    """Start a command, given as words of the command line."""
    reader, writer = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run, args=(words, writer))
    process.start()
    writer.close()
    with reader:
        return Running(process, os.fdopen(os.dup(reader.fileno()), "rb"))


def _run(words: list[str], stderr: Connection) -> None:
    os.dup2(stderr.fileno(), 2)
    sys.exit(main(words))
