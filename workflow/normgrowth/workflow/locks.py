"""The lock that a run holds on what it reads and writes, while others may run in the same folder.

Two runs go on side by side if neither writes what the other reads or writes. The lock of a run that was killed on this
machine is taken over, once nothing of that run lives any more. Where the system does not show a run's processes (other
than Linux), it is taken over without a look at what it left, and the line that says so asks the user to look.
"""

import fcntl
import os
import pwd
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired

from normgrowth.errors import RunError
from normgrowth.workflow import processes
from normgrowth.workflow.run_records import Lock, Run, locks_in, shared_file

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
        RunError: when another run is in the way, or has changed what the plan was made from, or when the locks are
            another user's and closed to this one; the message names the run or the user.
    """
    run = Run.this_one(secrets.token_hex(8), study, executor)
    with _permitted(), _alone(folder):
        lock, record = _take(folder / "locks", run, reads, writes, planned_beside or {})
    watcher = None
    try:
        # Jobs of a cluster may run on this machine, and outlive the run: nothing is marked as its own then.
        watcher = _watched(run.name) if run.is_local else None
        with processes.variable(processes.RUN, run.name if run.is_local else None):
            yield
    finally:
        if run.is_local:  # as after Ctrl-C: what still writes would do so unlocked
            processes.end(run.name, run.allocation, PATIENCE)
        with _alone(folder):
            lock.remove()
            os.close(record)
        _dismiss(watcher)


def held_in(folder: Path) -> dict[str, set[str]]:
    """What each run writes that lives now, by the run's name; `folder` is Snakemake's own."""
    if not os.path.isdir(folder / "locks"):
        return {}
    with suppress(OSError, RunError), _alone(folder):  # a look at a lock holds it for a moment
        held = [lock for lock in locks_in(folder / "locks") if lock.run and lock.is_held() is not False]
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
    if run is None or run.is_elsewhere or not run.is_local or run.user != os.getuid() or lock.is_held() is not False:
        return False
    killed, left = processes.end(run.name, run.allocation, PATIENCE)
    if left:
        raise RunError(
            f"not started: {run} has ended, but what it left cannot be ended: process "
            f"{', '.join(map(str, left))}. Wait until they are gone, {SAME_COMMAND}"
        )
    lock.remove()
    also = f"; {len(killed)} processes that it left were ended" if killed else ""
    if not processes.are_seen():
        also = (
            "; this system does not show jobs that it may have left behind: look for `normgrowth` with `ps`, end them"
        )
    print(f"normgrowth: taking over the lock of {run}, which has ended{also}", file=sys.stderr, flush=True)
    return True


def _refusal(lock: Lock, path: str, written: bool) -> str:
    run, unlock = lock.run, f"`snakemake --unlock`, {SAME_COMMAND}"
    why = f"{'writes' if written else 'reads'} {path}"
    if run is None:
        return (
            f"not started: by lock {lock.number} in {os.path.relpath(lock.folder)}, an unknown run {why}. "
            f"Make sure that no other run goes on in this folder, then {unlock}"
        )
    if run.is_elsewhere:
        return f"not started: {run} {why}. Wait for its end; if it was killed there, {unlock}"
    if is_held := lock.is_held():
        return f"not started: {run} {why}. Wait for its end, {SAME_COMMAND}"
    if is_held is None:
        return (
            f"not started: {run}, of user {_name_of(run.user)}, {why}, and this system does not show if it goes "
            f"on. Wait for its end; if it has ended, {unlock}"
        )
    if run.user != os.getuid():
        return (
            f"not started: {run}, of user {_name_of(run.user)}, has ended without letting go of its lock and {why}. "
            f"Let that user start it again; or, if nothing of it goes on, {unlock}"
        )
    return (
        f"not started: {run} was killed, but its jobs may go on in the queue ({run.executor}), and it {why}. Let them "
        f"end or cancel them, then {unlock}"
    )


@contextmanager
def _permitted() -> Iterator[None]:
    """Name the owner of files that this user may not use."""
    try:
        yield
    except PermissionError as error:
        path = os.fsdecode(error.filename or ".")
        raise RunError(
            f"not started: {path} is closed to this user, and belongs to user {_owner_of(Path(path).absolute())}. Let "
            "that user open it to a group of both (`chmod -R g+rwX .snakemake`), or run in a folder of your own"
        ) from None


def _owner_of(path: Path) -> str:
    """Name of the user whom a path belongs to, or else the folder nearest to it that can be looked at."""
    for place in (path, *path.parents):
        with suppress(OSError):
            return _name_of(place.stat().st_uid)
    return "unknown"


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # of another machine
        return str(user)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs of this folder from looking at the locks meanwhile, where the file system can do it."""
    folder.mkdir(parents=True, exist_ok=True)
    with shared_file(folder / "locks.guard", make=True) as guard:
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
    if not processes.are_seen():
        return None
    environment = {name: value for name, value in os.environ.items() if name != processes.RUN}
    command = [sys.executable, "-m", "normgrowth.workflow.watcher", run]
    return Popen(command, stdin=PIPE, env=environment, start_new_session=True)


def _dismiss(watcher: Popen | None) -> None:
    if watcher is None:
        return
    try:
        watcher.communicate(b"ended", timeout=PATIENCE)
    except (OSError, TimeoutExpired):  # it was ended before
        watcher.kill()
