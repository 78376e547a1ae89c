"""Digests by which a file is known to be what was written: inside tables and tensors, beside text and JSON.

A table or tensor file holds the SHA-256 of all its bytes in its own metadata, counted with zeros in the digest's place,
so that a changed bit anywhere is found, headers included. Text and JSON have a small file beside them, `NAME.sha256`,
in the format of `sha256sum --check`.
"""

import hashlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.damage import damaged, unreadable
from normgrowth.io.known_hashes import confirmed

KEY = "sha256_of_file"
"""Name under which JSON metadata holds the digest of its own file."""

BLANK = "0" * 64
SUFFIX = ".sha256"

_PLACE = re.compile(rb"%s\W{1,8}([0-9a-f]{64})" % KEY.encode())
_BESIDE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n# sha256 of the line above: ([0-9a-f]{64})\n")

Span = Callable[[BinaryIO, int], tuple[int, int] | None]
"""First and past-the-last byte of a file's metadata, given the file and its size; None where it has not its format."""

UNSEALED = "it holds no digest of its own bytes: another version of the package wrote it, or it is damaged"

_AT_ONCE = 2**20  # bytes


def seal(path: Path, metadata: Span) -> None:
    """Write a file's digest into its metadata, where `BLANK` stands under `KEY`."""
    with open(path, "r+b") as file:
        span = metadata(file, os.fstat(file.fileno()).st_size)
        place = _place(file, span) if span else None
        if place is None:
            raise ValueError(f"{path} has no place for its digest")
        digest = _digest_without(file, place)
        file.seek(place[0])
        file.write(digest.encode())


def check_seal(path: Path | str, metadata: Span) -> None:
    """Compare a file with the digest in its own metadata.

    Raises:
        ArtefactError: when the file is missing or has changed, be it by a single bit; it is moved aside. One that holds
            no digest, as other versions of the package write them, stays.
    """
    try:
        fault = seal_fault(path, metadata)
    except OSError as error:
        raise unreadable(path, error) from error
    if fault == UNSEALED:
        raise ArtefactError(f"{path}: {fault}; delete it and run the workflow again, or read it with that version")
    if fault:
        raise damaged(path, fault)


def seal_fault(path: Path | str, metadata: Span) -> str | None:
    """What is wrong with a file that should hold its own digest; None where nothing is. The file stays where it is.

    Raises:
        OSError: when the file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return "it is empty"
        span = metadata(file, size)
        if span is None:
            return "it is cut short, or of another format"
        place = _place(file, span)
        if place is None:
            return UNSEALED
        file.seek(place[0])
        stated = file.read(place[1] - place[0]).decode()
        if confirmed(path, stated, partial(_digest_without, file, place)) != stated:
            return "its bytes do not match the digest that it carries"
    return None


def stated_digest(path: Path | str, metadata: Span) -> str:
    """The digest that a file carries, without a look at whether it is right: readers of the file see to that.

    Raises:
        ArtefactError: when the file cannot be read or carries none.
    """
    try:
        with open(path, "rb") as file:
            span = metadata(file, os.fstat(file.fileno()).st_size)
            place = _place(file, span) if span else None
            if place is None:
                raise ArtefactError(f"{path}: {UNSEALED}; delete it and run the workflow again")
            file.seek(place[0])
            return file.read(place[1] - place[0]).decode()
    except OSError as error:
        raise unreadable(path, error) from error


def safetensors_header(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """First and past-the-last byte of a safetensors file's header; None where the file is cut short.

    Its length stands in the first eight bytes.
    """
    end = 8 + int.from_bytes(file.read(8), "little")
    return (8, end) if end <= size else None


def _place(file: BinaryIO, span: tuple[int, int]) -> tuple[int, int] | None:
    """First and past-the-last byte of the digest in a file; None where there is none, or more than one."""
    start, end = span
    file.seek(start)
    found = list(_PLACE.finditer(file.read(end - start)))
    return (start + found[0].start(1), start + found[0].end(1)) if len(found) == 1 else None


def _digest_without(file: BinaryIO, place: tuple[int, int]) -> str:
    """SHA-256 of a file, in hexadecimal, with zeros in one place."""
    digest = hashlib.sha256()
    file.seek(0)
    left = place[0]
    while part := file.read(min(left, _AT_ONCE)):
        digest.update(part)
        left -= len(part)
    digest.update(BLANK.encode())
    file.seek(place[1])
    while part := file.read(_AT_ONCE):
        digest.update(part)
    return digest.hexdigest()


def beside(path: Path | str) -> Path:
    """The small file that holds the digest of a text or JSON file."""
    path = Path(path)
    return path.with_name(path.name + SUFFIX)


def write_beside(path: Path | str, digest: str) -> None:
    """Write the digest that a file has or is about to have, with the file's name and a check of the line itself."""
    line = f"{digest}  {Path(path).name}"
    check = hashlib.sha256(line.encode()).hexdigest()
    with whole_or_not_at_all(beside(path)) as partial:
        partial.write_text(f"{line}\n# sha256 of the line above: {check}\n", encoding="utf-8")


def read_beside(path: Path | str) -> str:
    """The digest that stands beside a file.

    Raises:
        ArtefactError: when it is missing, has changed or belongs to another file.
    """
    path, note = Path(path), beside(path)
    remedy = f"delete {path} and run the workflow again, which makes both anew"
    try:
        text = note.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if not path.is_file():
            raise unreadable(path, error) from error
        raise ArtefactError(
            f"{note}, the digest of {path.name}, does not exist: a file of the workflow has one; {remedy} (files of "
            "your own are taken in by `normgrowth import-facts` and `import-text`)"
        ) from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ArtefactError(f"{note} is damaged; {remedy}") from error
    except OSError as error:
        raise unreadable(note, error) from error
    found = _BESIDE.fullmatch(text)
    if found is None or hashlib.sha256(f"{found[1]}  {found[2]}".encode()).hexdigest() != found[3]:
        raise ArtefactError(f"{note} is damaged; {remedy}")
    if found[2] != path.name:
        raise ArtefactError(f"{note} is the digest of another file, {found[2]}; {remedy}")
    return found[1]


def check_beside(path: Path | str) -> str:
    """Compare a file with the digest beside it, without reading it into memory; returns the digest.

    Raises:
        ArtefactError: when either is missing or has changed; a changed file is moved aside.
    """
    digest = read_beside(path)
    try:
        found = confirmed(path, digest)
    except OSError as error:
        raise unreadable(path, error) from error
    if found != digest:
        raise damaged(path, f"its bytes do not match the digest that {beside(path).name} beside it says")
    return digest
