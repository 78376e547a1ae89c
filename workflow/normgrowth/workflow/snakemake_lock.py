"""Lock of the workflow's folder that replaces Snakemake's own, and messages at the end of a run.

A run that fails names the folders that have no room left, since Snakemake's records, logs and benchmarks need room as
results do.
"""

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from normgrowth.errors import RunError
from normgrowth.workflow.code_edits import STUDY, keep, stamps, tell_of_edits
from normgrowth.workflow.locks import folder_lock, held_in
from normgrowth.workflow.processes import variable
from normgrowth.workflow.run_records import LOCAL, Access

FOLDERS = ("results", "resources", "logs", ".snakemake")
"""Folders that a study writes to, in its working directory."""

LITTLE_ROOM = 4 * 2**20
"""Free bytes below which a folder is named when a run fails. Commands that need more than this to write a file name it
themselves."""


class Persistence(Protocol):
    """Snakemake's records of a folder, as far as a lock needs them."""

    path: Path | str

    def all_inputfiles(self) -> Iterable[object]:
        """Files that the jobs of the run read."""
        ...

    def all_outputfiles(self) -> Iterable[object]:
        """Files that the jobs of the run write."""
        ...


@contextmanager
def without_lock(persistence: Any) -> Iterator[None]:
    """Method `lock_warn_only` for Snakemake's records of a folder, which dry runs use; Snakemake's own says "Error"."""
    if persistence.locked:
        print("normgrowth: another run is making some of these files; what it ends meanwhile is no longer to do")
    yield


def lock_of(
    config: Mapping[str, Any], executor: Callable[[], object], code: Path
) -> Callable[[Persistence], AbstractContextManager[None]]:
    """Method `lock` for Snakemake's records of a folder (`FilePersistence`).

    Snakemake's own lock stays behind when a run is killed, and a run that ends removes those of all others. Work
    without a lock, such as dry runs and the jobs of a run, does not call it.

    Args:
        config: the study that is run.
        executor: called once the lock is asked for; returns the plugin that runs the jobs, or None.
        code: the folder of the library and the rules.
    """
    before = stamps([code])
    planned_beside = held_in(Path(".snakemake"))

    @contextmanager
    def lock(persistence: Persistence) -> Iterator[None]:
        access = Access(set(map(str, persistence.all_inputfiles())), set(map(str, persistence.all_outputfiles())))
        name, folder = getattr(executor(), "name", ""), Path(persistence.path)
        try:
            with (
                folder_lock(folder, config["study"], name, access, planned_beside),
                # Jobs on this machine follow the plan itself; the study of a run around this one is not theirs.
                variable(STUDY, None if name in LOCAL else keep(config, folder)),
            ):
                yield
        except RunError as error:
            sys.exit(f"normgrowth: {error}")  # one line for the user, no traceback
        except Exception as error:
            if (folders := without_room()) or is_full(error):
                where = ", ".join(folders) or "a folder that this run writes to"
                line = (
                    f"normgrowth: stopped where there is next to no room: {where}. Free some, then run the same command"
                )
                print(line, file=sys.stderr, flush=True)
            if is_full(error):
                sys.exit(1)
            raise
        finally:
            tell_of_edits(before, [code])

    return lock


def is_full(error: BaseException | None) -> bool:
    """True where an error, a member of its group, or one of its causes says that there is no room."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(is_full(one) for one in getattr(error, "exceptions", ())):
            return True
        error = error.__cause__ or error.__context__
    return False


def without_room(folders: Iterable[str] = FOLDERS) -> list[str]:
    """Each folder with almost no free space, that of temporary files included: its name and its free space."""
    return [said for folder in (*folders, tempfile.gettempdir()) if (said := _shortage(folder))]


def _shortage(folder: str) -> str:
    """Name and free space of a folder with almost none; empty for any other."""
    try:
        found = os.statvfs(folder)
    except OSError:  # it is not there yet
        return ""
    if found.f_bavail * found.f_frsize < LITTLE_ROOM:
        return f"{folder} ({found.f_bavail * found.f_frsize / 2**20:.1f} MiB free)"
    return f"{folder} (no more files can be made there)" if found.f_files and not found.f_favail else ""
