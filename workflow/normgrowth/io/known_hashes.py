"""Large files whose digest this machine has confirmed before: they are hashed once, and again when they change.

What is remembered stands in the user's cache, one small file per large one: `$XDG_CACHE_HOME/normgrowth/verified`, or
`~/.cache/normgrowth/verified`. `NORMGROWTH_VERIFY=always` hashes always.
"""

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.provenance import file_sha256

LARGE = 512 * 2**20
"""Bytes from which a file's digest is remembered: smaller ones are hashed faster than their cache is worth."""

ALWAYS = ("NORMGROWTH_VERIFY", "always")


def confirmed(path: Path | str, expected: str, work_out: Callable[[], str] | None = None) -> str:
    """The digest of a file. For a large one it is `expected` without another look where it was so before.

    Args:
        work_out: computes the digest; None for the SHA-256 of the whole file.

    Raises:
        OSError: when the file cannot be read.
    """
    path = Path(path)
    before = _identity(path)
    note = _note(path) if before["bytes"] >= LARGE and os.environ.get(ALWAYS[0]) != ALWAYS[1] else None
    known = {**before, "digest": expected}
    if note is not None and _remembered(note) == known:
        return expected
    digest = file_sha256(path) if work_out is None else work_out()
    # Only a digest that was expected is remembered, so a cache that says something wrong is never believed.
    if note is not None and digest == expected and _identity(path) == before:
        _remember(note, known)
    return digest


def _identity(path: Path) -> dict[str, object]:
    """What stays the same as long as a file does."""
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
    """Where it is remembered: one place per machine and file; None where the user has no home."""
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
        pass  # a cache that cannot be written costs another look, and nothing else
