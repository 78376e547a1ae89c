"""Cache of digests that this machine has confirmed: a large file is hashed once, and again when it changes.

The cache stands in the user's cache, one small file per large one: `$XDG_CACHE_HOME/normgrowth/verified`, or
`~/.cache/normgrowth/verified`. `NORMGROWTH_VERIFY=always` hashes always.
"""

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.provenance import file_sha256

LARGE = 512 * 2**20
"""Size in bytes from which a file's digest is cached: hashing smaller ones is fast enough."""

VARIABLE, ALWAYS = "NORMGROWTH_VERIFY", "always"
"""Environment variable, and its value with which every file is hashed."""


class _Identity(TypedDict):
    """Properties of a file that stay the same as long as its content does."""

    host: str
    path: str
    device: int
    inode: int
    bytes: int
    changed: list[int]  # nanoseconds: of the content, of the inode


def confirmed(path: Path | str, expected: str, work_out: Callable[[], str] | None = None) -> str:
    """Digest of a file; of a large one `expected`, without another look, where that was confirmed before.

    Args:
        work_out: computes the digest; None for the SHA-256 of the whole file.

    Raises:
        OSError: when the file cannot be read.
    """
    path = Path(path)
    before = _identity(path)
    note = _note(path) if before["bytes"] >= LARGE and os.environ.get(VARIABLE) != ALWAYS else None
    known = {**before, "digest": expected}
    if note is not None and _remembered(note) == known:
        return expected
    digest = file_sha256(path) if work_out is None else work_out()
    # Only an expected digest is cached, so a wrong entry is never believed.
    if note is not None and digest == expected and _identity(path) == before:
        _remember(note, known)
    return digest


def _identity(path: Path) -> _Identity:
    state = path.stat()
    return {
        "host": socket.gethostname(),
        "path": os.path.realpath(path),
        "device": state.st_dev,
        "inode": state.st_ino,
        "bytes": state.st_size,
        "changed": [state.st_mtime_ns, state.st_ctime_ns],
    }


def _note(path: Path) -> Path | None:
    """Path of the note on a file, one per machine and file; None where the user has no home."""
    place = hashlib.sha256(f"{socket.gethostname()}\n{os.path.realpath(path)}".encode(errors="surrogateescape"))
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "normgrowth" / "verified" / f"{place.hexdigest()[:32]}.json"


def _remembered(note: Path) -> object:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _remember(note: Path, known: dict[str, object]) -> None:
    try:
        with whole_or_not_at_all(note) as partial:
            partial.write_text(json.dumps(known), encoding="ascii")
    except (OSError, ArtefactError):
        pass  # without a cache the file is hashed again, and nothing else
