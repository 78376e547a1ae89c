"""Locks of runs that share a folder: each holds one on what it reads and writes.

Two runs go on side by side if neither writes what the other reads or writes. The lock of a run that was killed on this
machine is taken over, once none of its processes is alive. On systems that do not show a run's processes (other than
Linux), it is taken over without that check, and a message asks the user to make it.
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
from normgrowth.workflow.run_records import Access, Lock, Run, locks_in, shared_file

SAME_COMMAND = "then run the same command"


@contextmanager
def folder_lock(
    folder: Path,
    study: str,
    executor: str,
    access: Access,
    planned_beside: Mapping[str, set[str]] | None = None,
) -> Iterator[None]:
    """Hold the lock of this process's run.

    Args:
        folder: Snakemake's own, `.snakemake`.
        study: name of the study that is run.
        executor: name of the executor that runs the jobs.
        access: every file that the run's jobs may read or will write.
        planned_beside: paths written by each run that was alive when this one began to plan, by the run's name.

    Raises:
        RunError: when another run is in the way, or has changed what the plan was made from, or when the locks are
            another user's and closed to this one; the message names the run or the user.
    """
    run = Run.this_one(secrets.token_hex(8), study, executor)
    with _permitted(), _alone(folder):
        lock, record = _take(folder / "locks", run, access, planned_beside or {})
    watcher = None
    try:
        # Jobs of a cluster may run on this machine, and outlive the run: nothing is marked as its own then.
        watcher = _watched(run.name) if run.is_local else None
        with processes.variable(processes.RUN, run.name if run.is_local else None):
            yield
    finally:
        if run.is_local:  # as after Ctrl-C: processes still writing would do so without a lock
            processes.end(run.name, run.allocation)
        with _alone(folder):
            lock.remove()
            os.close(record)
        _dismiss(watcher)


def held_in(folder: Path) -> dict[str, set[str]]:
    """Paths that each living run writes, by the run's name; `folder` is Snakemake's own."""
    if not os.path.isdir(folder / "locks"):
        return {}
    with suppress(OSError, RunError), _alone(folder):  # a look at a lock holds it for a moment
        return {
            run.name: lock.paths("output")
            for lock in locks_in(folder / "locks")
            if (run := lock.run) and lock.is_held() is not False
        }
    return {}


def _take(folder: Path, run: Run, access: Access, planned_beside: Mapping[str, set[str]]) -> tuple[Lock, int]:
    """The lock of a run, and its record, open for as long as the lock is held."""
    reads, writes = access
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
                f"not started: another run ended while this one was planned, and may have changed {min(shared)}. Run "
                "the same command again"
            )
    lock = Lock(folder, max((other.number for other in others), default=-1) + 1)
    return lock, lock.take(run, access)


def _taken_over(lock: Lock) -> bool:
    """Remove the lock of a run that ended without releasing it; False while that run may be alive."""
    run = lock.run
    if run is None or run.is_elsewhere or not run.is_local or run.user != os.getuid() or lock.is_held() is not False:
        return False
    killed, left = processes.end(run.name, run.allocation)
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
    """Message on a run refused because a lock's holder reads or writes `path`, with the remedy."""
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
    """Turn errors of files that this user may not use into one that names their owner."""
    try:
        yield
    except PermissionError as error:
        path = os.fsdecode(error.filename or ".")
        raise RunError(
            f"not started: {path} is closed to this user, and belongs to user {_owner_of(Path(path).absolute())}. Let "
            "that user open it to a group of both (`chmod -R g+rwX .snakemake`), or run in a folder of your own"
        ) from None


def _owner_of(path: Path) -> str:
    """Name of the owner of a path, or else of the nearest folder above it that can be looked at."""
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
    """Keep other runs of this folder from looking at the locks meanwhile, where the file system has flock(2)."""
    folder.mkdir(parents=True, exist_ok=True)
    with shared_file(folder / "locks.guard", make=True) as guard:
        deadline = time.monotonic() + 2 * processes.PATIENCE
        while True:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"not started: another run has been looking at the locks in {folder} for "
                        f"{2 * processes.PATIENCE:.0f} s. End it, {SAME_COMMAND}"
                    ) from None
                time.sleep(processes.PAUSE)
            except OSError:
                break
            else:
                break
        yield


def _watched(run: str) -> Popen[bytes] | None:
    """Process that ends this run's processes when it is killed; None where they cannot be found."""
    if not processes.are_seen():
        return None
    environment = {name: value for name, value in os.environ.items() if name != processes.RUN}
    command = [sys.executable, "-m", "normgrowth.workflow.processes", run]
    return Popen(command, stdin=PIPE, env=environment, start_new_session=True)


def _dismiss(watcher: Popen[bytes] | None) -> None:
    """Tell a watcher that the run ends by itself."""
    if watcher is None:
        return
    try:
        watcher.communicate(b"ended", timeout=processes.PATIENCE)
    except (OSError, TimeoutExpired):  # it was ended before
        watcher.kill()
