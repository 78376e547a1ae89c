"""Folders that have no room left, named when a run fails: Snakemake's own records need room as results do."""

import errno
import os
import tempfile
from collections.abc import Iterable

FOLDERS = ("results", "resources", "logs", ".snakemake")
"""What a study writes to, in its working directory."""

LITTLE = 4 * 2**20
"""Free bytes below which a folder is named when a run fails. Commands that need more than this to write a file name it
themselves."""


def is_full(error: BaseException | None) -> bool:
    """True where an error, or one behind it, says that there is no room."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(is_full(one) for one in getattr(error, "exceptions", ())):
            return True
        error = error.__cause__ or error.__context__
    return False


def without_room(folders: Iterable[str] = FOLDERS) -> list[str]:
    """What is said of each folder with next to no room: its name and what it has; the folder of temporary files is
    looked at too."""
    return [said for folder in (*folders, tempfile.gettempdir()) if (said := _shortage(folder))]


def _shortage(folder: str) -> str:
    try:
        found = os.statvfs(folder)
    except OSError:  # it is not there yet
        return ""
    if found.f_bavail * found.f_frsize < LITTLE:
        return f"{folder} ({found.f_bavail * found.f_frsize / 2**20:.1f} MiB free)"
    return f"{folder} (no more files can be made there)" if found.f_files and not found.f_favail else ""
