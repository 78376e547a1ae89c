"""The lock that a run holds on what it reads and writes, while others may run in the same folder.

Two runs go on side by side if neither writes what the other reads or writes. The lock of a run that was killed on this
machine is taken over, once nothing of that run lives any more.
"""

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired

from normgrowth.errors import RunError
from normgrowth.heads import processes
from normgrowth.heads.records import LOCAL, Lock, Run, locks_in

PATIENCE = 60.0  # seconds in which what a killed run left must end
SAME_COMMAND = "then run the same command"


@contextmanager
def folder_lock(
    folder: Path,
    study: str,
    executor: str,
    reads: set[str],
    writes: set[str],
    planned_beside: Mapping[str, set[str]] | None = None,
) -> Iterator[None]:
    """Hold the lock of a run of this process.

    Args:
        folder: Snakemake's own, `.snakemake`.
        study: what is run.
        executor: name of the executor that runs the jobs.
        reads: every file that the run's jobs may read.
        writes: every file that they will write.
        planned_beside: what each run writes that lived when this one's plan was begun, by the run's name.

    Raises:
        RunError: when another run is in the way, or has changed what the plan was made from; the message names it.
    """
    run = Run.this_one(secrets.token_hex(8), study, executor)
    with _alone(folder):
        lock, record = _take(folder / "locks", run, reads, writes, planned_beside or {})
    before, watcher = os.environ.get(processes.RUN), None
    try:
        watcher = _watched(run.name)
        os.environ[processes.RUN] = run.name
        yield
    finally:
        processes.end(run.name, run.allocation, PATIENCE)  # as after Ctrl-C: what still writes would do so unlocked
        os.environ.pop(processes.RUN, None)
        if before is not None:
            os.environ[processes.RUN] = before
        with _alone(folder):
            lock.remove()
            os.close(record)
        _dismiss(watcher)


def held_in(folder: Path) -> dict[str, set[str]]:
    """What each run writes that lives now, by the run's name; `folder` is Snakemake's own."""
    if not (folder / "locks").is_dir():
        return {}
    with suppress(OSError, RunError), _alone(folder):  # a look at a lock holds it for a moment
        held = [lock for lock in locks_in(folder / "locks") if lock.run and lock.is_held()]
        return {lock.run.name: lock.paths("output") for lock in held}
    return {}


def _take(
    folder: Path, run: Run, reads: set[str], writes: set[str], planned_beside: Mapping[str, set[str]]
) -> tuple[Lock, int]:
    folder.mkdir(parents=True, exist_ok=True)  # `snakemake --unlock` removes it
    there = {lock.run.name for lock in locks_in(folder) if lock.run}
    others = [lock for lock in locks_in(folder) if not _taken_over(lock)]
    for other in others:
        theirs_read, theirs_written = other.paths("input"), other.paths("output")
        if shared := writes & (theirs_read | theirs_written) or reads & theirs_written:
            raise RunError(_refusal(other, min(shared), min(shared) in theirs_written))
    for name, written in planned_beside.items():
        if name not in there and (shared := written & (reads | writes)):
            raise RunError(
                f"not started: another run ended while this one was planned, and may have made {min(shared)} anew. Run "
                "the same command again"
            )
    lock = Lock(folder, max((other.number for other in others), default=-1) + 1)
    return lock, lock.take(run, reads, writes)


def _taken_over(lock: Lock) -> bool:
    """Remove the lock of a run that has ended without letting go; False while its run may go on."""
    run = lock.run
    if run is None or run.is_elsewhere or run.executor not in LOCAL or run.user != os.getuid() or lock.is_held():
        return False
    killed, left = processes.end(run.name, run.allocation, PATIENCE)
    if left:
        raise RunError(
            f"not started: {run} has ended, but what it left cannot be ended: process "
            f"{', '.join(map(str, left))}. Wait until they are gone, {SAME_COMMAND}"
        )
    lock.remove()
    also = f"; {len(killed)} processes that it left were ended" if killed else ""
    print(f"normgrowth: taking over the lock of {run}, which has ended{also}", file=sys.stderr, flush=True)
    return True


def _refusal(lock: Lock, path: str, written: bool) -> str:
    run, unlock = lock.run, f"`snakemake --unlock`, {SAME_COMMAND}"
    why = f"{'writes' if written else 'reads'} {path}"
    if run is None:
        return (
            f"not started: a run that left no record {why} (lock {lock.number} in {os.path.relpath(lock.folder)}). "
            f"Make sure that no other run goes on in this folder, then {unlock}"
        )
    if run.is_elsewhere:
        return f"not started: {run} {why}. Wait for its end; if it was killed there, {unlock}"
    if lock.is_held():
        return f"not started: {run} {why}. Wait for its end, {SAME_COMMAND}"
    if run.user != os.getuid():
        return (
            f"not started: {run}, of user {run.user}, has ended without letting go of its lock and {why}. Let that "
            f"user start it again; or, if nothing of it goes on, {unlock}"
        )
    return (
        f"not started: {run} was killed, but its jobs may go on in the queue ({run.executor}), and it {why}. Let them "
        f"end or cancel them, then {unlock}"
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs of this folder from looking at the locks meanwhile, where the file system can do it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "locks.guard", "ab") as guard:
        deadline = time.monotonic() + 2 * PATIENCE
        while True:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"not started: another run has been looking at the locks in {folder} for {2 * PATIENCE:.0f} s. "
                        f"End it, {SAME_COMMAND}"
                    ) from None
                time.sleep(processes.PAUSE)
            except OSError:
                break
            else:
                break
        yield


def _watched(run: str) -> Popen | None:
    """A process that ends what this one leaves when it is killed; none where a run's processes cannot be found."""
    if not processes.this_boot():
        return None
    environment = {name: value for name, value in os.environ.items() if name != processes.RUN}
    command = [sys.executable, "-m", "normgrowth.heads.watcher", run]
    return Popen(command, stdin=PIPE, env=environment, start_new_session=True)


def _dismiss(watcher: Popen | None) -> None:
    if watcher is None:
        return
    try:
        watcher.communicate(b"ended", timeout=PATIENCE)
    except (OSError, TimeoutExpired):  # it was ended before
        watcher.kill()
