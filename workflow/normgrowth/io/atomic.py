"""Outputs that appear whole or not at all: written beside their place, then renamed onto it."""

import errno
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normgrowth.errors import ArtefactError


@contextmanager
def whole_or_not_at_all(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends without an error.

    Works for files and folders. Whatever the failure, nothing half-written stays.

    Raises:
        ArtefactError: when the disk is full, the place cannot be written, or a file stands where a folder belongs or a
            folder where a file belongs.
    """
    path = Path(path)
    require_place(path)
    # Several machines may write to one folder, and their process numbers may coincide.
    partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path)
        _remove(partial)
        yield partial
        _finish(partial)
        _require_same_kind(path, partial)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException as error:
        _remove(partial)
        if _disk_is_full(error):
            raise ArtefactError(
                f"the disk is full: {path} could not be written. Free some space and run the same "
                "command again; everything finished before is kept"
            ) from error
        if isinstance(error, PermissionError):
            raise ArtefactError(f"{path} may not be written: {error.strerror}. Check its owner") from error
        raise


def require_place(path: Path | str) -> None:
    """Refuse a place to write to that lies under a file; nothing is made.

    Raises:
        ArtefactError: naming the file.
    """
    for above in Path(path).parents:
        if above.is_dir():
            return
        if above.exists() or above.is_symlink():
            what = "a link that leads nowhere" if above.is_symlink() and not above.exists() else "a file"
            raise ArtefactError(f"{above} is {what}, where a folder belongs: move it away and run the same again")


def require_place_of_folder(path: Path | str) -> None:
    """Refuse a file or a link where a folder is to be written: it is somebody's. Nothing is made.

    Raises:
        ArtefactError: naming what is there.
    """
    path = Path(path)
    require_place(path)
    if path.is_symlink() or path.is_file():
        what = "link" if path.is_symlink() else "file"
        raise ArtefactError(f"{path} is a {what}, where a folder belongs: move it away and run the same again")


def _require_same_kind(path: Path, partial: Path) -> None:
    """Refuse to put a file in a folder's place, or a folder in that of a file or a link."""
    if partial.is_dir():
        require_place_of_folder(path)
    elif path.is_dir():
        raise ArtefactError(f"{path} is a folder, where a file belongs: move it away and run the same again")


def _remove_left_over(path: Path) -> None:
    """Remove what killed processes of this machine left half-written for this path."""
    beginning = f".{path.name}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(beginning)}*.partial"):
        number = left.name.removeprefix(beginning).removesuffix(".partial")
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            _remove(left)
        except (OSError, ValueError):  # another user's process; a name of somebody else's
            pass


def _disk_is_full(error: BaseException) -> bool:
    # Arrow and safetensors wrap the operating system's error in their own, so its text is read too.
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _finish(path: Path) -> None:
    """Flush files to disk, readable by whom the umask allows: some libraries write files for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]:
        file.chmod(0o666 & ~mask)
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
