"""Processes of a run of the workflow on this machine: how they are found and ended.

A run's processes are known by a variable of the environment that they were started with, as Linux shows it in `/proc`.
On systems without it none is found.

    python -m normgrowth.workflow.processes RUN

waits for the end of a run, and ends the run's remaining processes if it was killed.
"""

import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from tempfile import gettempdir

RUN = "NORMGROWTH_RUN"
"""Environment variable with the name of the run that a process belongs to."""

ALLOCATIONS = (
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "JOB_ID",  # Grid Engine
    "LSB_JOBID",
    "_CONDOR_SLOT",
    "_CONDOR_SCRATCH_DIR",
    "FLUX_JOB_ID",
    "OAR_JOB_ID",
)
"""Environment variables by which batch systems name the job that a process is part of. Jobs outlive the run that
submitted them."""

PR_SET_PDEATHSIG = 1
"""Option of prctl(2): a signal that a process gets when the one that started it ends."""

PAUSE = 0.05
"""Seconds between two checks."""

PATIENCE = 60.0
"""Seconds within which the processes of a killed run must end."""


def this_boot() -> str:
    """Identifier that this machine keeps until it is started again; empty where there is none."""
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def are_seen() -> bool:
    """True where this system shows which processes belong to a run."""
    return os.path.exists("/proc/self/environ")


def allocation_of(environment: Mapping[str, str]) -> str:
    """Name of the batch system's job that a process with this environment is part of; empty for none."""
    return " ".join(f"{name}={environment[name]}" for name in ALLOCATIONS if environment.get(name))


@contextmanager
def variable(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable of this process for a while, or remove it where the value is None."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def began(process: int) -> str:
    """Start of a process, in clock ticks since the machine's own; empty where it has ended or cannot be seen."""
    fields = _text(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in ("Z", "X") else ""


def has_ended(process: int) -> bool:
    """True where no process has this number; every system tells that, even of processes that it does not show."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's
        return False
    return False


def of_run(run: str, allocation: str) -> list[int]:
    """Numbers of a run's processes on this machine, apart from this process and those of jobs of a cluster."""
    return [process for process in _numbers() if process != os.getpid() and _is_of(process, run, allocation)]


def end(run: str, allocation: str, patience: float = PATIENCE) -> tuple[set[int], list[int]]:
    """Kill the processes of a run and wait until they are gone; they may start others meanwhile.

    Args:
        run: the run's name.
        allocation: the batch system's job in which the run itself was started; empty for none.
        patience: seconds to wait.

    Returns:
        Numbers of the processes that were killed, and of those that still live.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + patience
    while (left := of_run(run, allocation)) and time.monotonic() < deadline:
        for process in left:
            if _kill(process, run, allocation):
                killed.add(process)
        time.sleep(PAUSE)
    for folder in glob(os.path.join(gettempdir(), f"{temporary_prefix(run)}*")):
        shutil.rmtree(folder, ignore_errors=True)
    return killed, left


def temporary_prefix(run: str) -> str:
    """Beginning of the names of a run's temporary folders. It is short, since paths of sockets must be."""
    return f"normgrowth-{run[:8]}-"


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends, where the system can do it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill(process: int, run: str, allocation: str) -> bool:
    """Kill a process of a run; False where it has ended, even if its number belongs to another one by now."""
    try:
        handle = os.pidfd_open(process)
    except OSError:
        return False
    try:
        if not _is_of(process, run, allocation):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _numbers() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _is_of(process: int, run: str, allocation: str) -> bool:
    try:
        entries = Path(f"/proc/{process}/environ").read_text(errors="surrogateescape").split("\0")
    except OSError:  # ended, or of somebody else
        return False
    if f"{RUN}={run}" not in entries:
        return False
    return allocation_of(dict(entry.partition("=")[::2] for entry in entries)) == allocation


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def watch(run: str) -> None:
    """Wait for the end of a run, and kill its processes unless it said that it ends by itself.

    The run holds the other end of this process's standard input, and writes to it before it ends by itself.
    """
    if not os.read(sys.stdin.fileno(), 1):
        end(run, allocation_of(os.environ))  # processes alive after that are left to the next run


if __name__ == "__main__":
    watch(sys.argv[1])
