"""What becomes of a file that cannot be what was written: it is named, and moved aside, so that the graph makes it
anew."""

import os
from pathlib import Path

from normgrowth.errors import ArtefactError

SUFFIX = ".damaged"


def damaged(path: Path | str, why: object) -> ArtefactError:
    """Move a damaged file aside; returns the error to raise. A file that could not be read at all, as on a file system
    that is gone for a while, stays where it is."""
    path, reason = Path(path), " ".join(str(why).split())
    if getattr(why, "errno", None) is not None:
        return unreadable(path, why)
    aside = path.with_name(path.name + SUFFIX)
    try:
        os.replace(path, aside)
    except OSError:
        return ArtefactError(f"{path} is damaged ({reason}); delete it and run the workflow again")
    return ArtefactError(
        f"{path} is damaged ({reason}); it was moved to {aside.name}: run the workflow again, which makes it anew"
    )


def unreadable(path: Path | str, error: OSError) -> ArtefactError:
    """The error to raise where a file is missing, is a folder or cannot be read; it stays where it is."""
    path = Path(path)
    if path.is_dir():
        return ArtefactError(f"{path} is a folder, where a file is asked for: give the file itself")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ArtefactError(f"{path} does not exist; the workflow makes it")
    reason = " ".join(str(error).split())
    return ArtefactError(f"{path} cannot be read ({reason}); see to the file system and run the workflow again")
