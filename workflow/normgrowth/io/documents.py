"""The only writer of the workflow's text and JSON; each file has its digest beside it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.digests import check_beside, damaged, unreadable, write_beside
from normgrowth.io.provenance import file_sha256

DOWNLOADS = "downloads"
"""Folder of downloads; not taken from `layout`, or every job would run again when any path there changes."""


def write_json(path: Path | str, value: object) -> None:
    """Write `value` as indented JSON with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text and its digest beside it, each whole or not at all.

    Raises:
        ArtefactError: when the disk is full or the place cannot be written.
    """
    with with_digest(path) as partial:
        partial.write_bytes(text.encode("utf-8"))


@contextmanager
def with_digest(path: Path | str) -> Iterator[Path]:
    """Yield a path to write to, as `whole_or_not_at_all` does; the file gets its digest beside it.

    Raises:
        ArtefactError: when the disk is full or the place cannot be written.
    """
    with whole_or_not_at_all(path) as partial:
        yield partial
        # Before the file appears, so that a file has its digest whenever the process is killed.
        write_beside(path, file_sha256(partial))


def intact(path: Path | str) -> Path:
    """Path of a file that the workflow wrote, after a comparison of its bytes with its digest.

    Fields of jobs have it in their type (`jobs.job.Intact`), so that each file is checked before any work.

    Raises:
        ArtefactError: when the file or its digest is missing, or it has changed, be it by a single bit; a changed file
            is moved aside.
    """
    check_beside(path)
    return Path(path)


def as_named(path: Path | str) -> Path:
    """Path of a file; of a download, after a comparison of its bytes with the SHA-256 that is its name.

    Downloads stand under their SHA-256 in a folder `downloads`; any other file is a user's own and is taken as it is.

    Raises:
        ArtefactError: when a download has changed; it is moved aside.
    """
    path = Path(path)
    if path.parent.name == DOWNLOADS and re.fullmatch("[0-9a-f]{64}", path.name) and path.is_file():
        try:
            found = file_sha256(path)
        except OSError as error:
            raise unreadable(path, error) from error
        if found != path.name:
            raise damaged(path, f"its SHA-256 is {found}, not its name")
    return path


def read_json(path: Path | str) -> object:
    """The value of a file that `write_json` wrote.

    Raises:
        ArtefactError: as `intact` does, and when the file holds no JSON.
    """
    try:
        return json.loads(intact(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} holds no JSON ({error}); delete it and run the workflow again") from error
