"""Records of the runs that hold locks in a folder, beside their lock files.

.snakemake/locks/N.input.lock   paths that run N reads, one a line, in Snakemake's own format
.snakemake/locks/N.output.lock  paths that run N writes
.snakemake/locks/N.run.json     record of run N; held by it with flock(2) for as long as it lives
"""

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

from normgrowth.workflow import processes

LOCK = re.compile(r"(\d+)\.(input|output)\.lock")
RECORD = re.compile(r"(\d+)\.run\.json")
LOCAL = ("local", "touch", "dryrun", "")
"""Executors whose jobs end with the run; the empty name stands for a run without jobs."""

SHARED_MODE = 0o666
"""Mode, before the umask, of files that runs of several users hold in turn."""


Kind = Literal["input", "output"]


class Access(NamedTuple):
    """Paths of the files that a run's jobs may read, and of those that they will write."""

    reads: AbstractSet[str]
    writes: AbstractSet[str]


@dataclass(frozen=True)
class Run:
    """A run of the workflow."""

    name: str
    study: str
    process: int  # its number
    process_began: str  # as `processes.began` tells it
    host: str
    boot: str  # identifier of the machine's start, as `processes.this_boot` tells it
    user: int  # its number
    since: str  # date and time of day
    executor: str  # name of Snakemake's executor
    allocation: str  # job of a batch system in which it was started; empty for none

    @classmethod
    def this_one(cls, name: str, study: str, executor: str) -> Self:
        """The run of this process."""
        return cls(
            name=name,
            study=study,
            process=os.getpid(),
            process_began=processes.began(os.getpid()),
            host=socket.gethostname(),
            boot=processes.this_boot(),
            user=os.getuid(),
            since=f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}",
            executor=executor,
            allocation=processes.allocation_of(os.environ),
        )

    @property
    def is_local(self) -> bool:
        """True where the run's jobs end with it."""
        return self.executor in LOCAL

    @property
    def is_elsewhere(self) -> bool:
        """True where this machine cannot tell if the run goes on."""
        return self.host != socket.gethostname() and (not self.boot or self.boot != processes.this_boot())

    def __str__(self) -> str:
        return f"study {self.study!r} (process {self.process} on {self.host}, since {self.since})"


@dataclass
class Lock:
    """Lock of one run in a folder of locks; `run` is None for a run that left no record."""

    folder: Path
    number: int
    run: Run | None = None

    @property
    def record(self) -> Path:
        """File with the record of the run."""
        return self.folder / f"{self.number}.run.json"

    def file(self, kind: Kind) -> Path:
        """File with the paths that the run reads (`input`) or writes (`output`)."""
        return self.folder / f"{self.number}.{kind}.lock"

    def paths(self, kind: Kind) -> set[str]:
        """Paths that the run reads (`input`) or writes (`output`); none once the lock is released."""
        try:
            return set(self.file(kind).read_text().splitlines())
        except FileNotFoundError:
            return set()

    def is_held(self) -> bool | None:
        """True while the run lives, None where this machine cannot tell.

        A run that lives holds its record. Where the file system has no flock(2), its process is looked for.
        """
        let_go = not self.record.exists()
        with suppress(OSError), shared_file(self.record) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                let_go = True
            except BlockingIOError:
                return True
        run = self.run
        if run is None:
            return False if let_go else None
        if run.is_elsewhere or (run.host != socket.gethostname() and not let_go):  # a container has its own numbers
            return None
        if run.boot != processes.this_boot():  # the machine was started again since
            return False
        began = processes.began(run.process)
        if began and began == run.process_began:
            return True
        if let_go or processes.has_ended(run.process):
            return False
        return False if began and run.process_began else None  # what is not shown may be the run or another process

    def take(self, run: Run, access: Access) -> int:
        """Write all files, the record first, so that files without a record are never this run's.

        Returns:
            The open record: closing it releases the lock.
        """
        record = os.open(self.record, os.O_RDWR | os.O_CREAT | os.O_EXCL, SHARED_MODE)
        try:
            with suppress(OSError):  # not every file system can
                fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(record, "wb", closefd=False) as file:
                file.write(json.dumps(asdict(run)).encode())
            os.fsync(record)  # a crash of the machine must not leave files without their record
            files: dict[Kind, AbstractSet[str]] = {"input": access.reads, "output": access.writes}
            for kind, paths in files.items():
                if paths:
                    self.file(kind).write_text("".join(f"{path}\n" for path in sorted(paths)))
        except BaseException:
            self.remove()
            os.close(record)
            raise
        self.run = run
        return record

    def remove(self) -> None:
        """Release the lock; the record is removed last, so that a run killed in between is still known."""
        for file in (self.file("input"), self.file("output"), self.record):
            file.unlink(missing_ok=True)


@contextmanager
def shared_file(path: Path, make: bool = False) -> Iterator[int]:
    """Open a file that may be another user's, to hold it with flock(2), for which reading is enough.

    Args:
        path: the file.
        make: create the file where there is none.

    Raises:
        OSError: when it cannot be opened.
    """
    try:
        file = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), SHARED_MODE)
    except PermissionError:
        if not path.exists():
            raise
        file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def locks_in(folder: Path) -> list[Lock]:
    """Every lock in a folder; the unfinished record of a killed run is removed where no files belong to it."""
    names = os.listdir(folder)
    records = {int(found[1]) for name in names if (found := RECORD.fullmatch(name))}
    files = {int(found[1]) for name in names if (found := LOCK.fullmatch(name))}
    locks = []
    for number in sorted(records | files):
        lock = Lock(folder, number)
        if number in records:
            try:
                lock.run = Run(**json.loads(lock.record.read_bytes()))
            except (ValueError, TypeError):
                if number not in files and lock.is_held() is False:
                    lock.remove()
                    continue
        locks.append(lock)
    return locks
