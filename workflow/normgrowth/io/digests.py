"""Digests that show whether a file is as it was written: inside tables and tensors, beside text and JSON.

A table or tensor file holds the SHA-256 of all its bytes in its own metadata, counted with zeros in the digest's place,
so that a changed bit anywhere is found, headers included. Text and JSON have a small file beside them, `NAME.sha256`,
in the format of `sha256sum --check`. A changed file is named and moved aside, so that the workflow makes it again.
"""

import hashlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.known_hashes import confirmed

KEY = "sha256_of_file"
"""Name under which JSON metadata holds the digest of its own file."""

BLANK = "0" * 64
"""Placeholder of a digest while the digest is worked out."""

SUFFIX = ".sha256"
DAMAGED_SUFFIX = ".damaged"

_PLACE = re.compile(rb"%s\W{1,8}([0-9a-f]{64})" % KEY.encode())
_BESIDE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n# sha256 of the line above: ([0-9a-f]{64})\n")


class Span(NamedTuple):
    """Bytes of a file, from `start` to before `end`."""

    start: int
    end: int


Metadata = Callable[[BinaryIO, int], Span | None]
"""Function from an open file and its size to the span of its metadata; None where the file has another format."""

UNSEALED = "it holds no digest of its own bytes: another version of the package wrote it, or it is damaged"

_FOREIGN = "it is cut short, or of another format"
_AT_ONCE = 2**20  # bytes


def seal(path: Path, metadata: Metadata) -> None:
    """Write a file's digest into its metadata, where `BLANK` stands under `KEY`.

    Raises:
        ValueError: when the metadata hold no such place.
    """
    with open(path, "r+b") as file:
        place = _place_of_digest(file, metadata)
        if isinstance(place, str):
            raise ValueError(f"{path} has no place for its digest")
        digest = _digest_without(file, place)
        file.seek(place.start)
        file.write(digest.encode())


def check_seal(path: Path | str, metadata: Metadata) -> None:
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


def seal_fault(path: Path | str, metadata: Metadata) -> str | None:
    """Fault of a file that should hold its own digest, in words; None where there is none. The file stays where it is.

    Raises:
        OSError: when the file cannot be read.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return "it is empty"
        place = _place_of_digest(file, metadata)
        if isinstance(place, str):
            return place
        stated = _read(file, place).decode()
        if confirmed(path, stated, partial(_digest_without, file, place)) != stated:
            return "its bytes do not match the digest that it carries"
    return None


def stated_digest(path: Path | str, metadata: Metadata) -> str:
    """The digest that a file carries, not compared with its bytes: readers of the file do that.

    Raises:
        ArtefactError: when the file cannot be read or carries none.
    """
    try:
        with open(path, "rb") as file:
            place = _place_of_digest(file, metadata)
            if isinstance(place, str):
                raise ArtefactError(f"{path}: {UNSEALED}; delete it and run the workflow again")
            return _read(file, place).decode()
    except OSError as error:
        raise unreadable(path, error) from error


def safetensors_header(file: BinaryIO, size: int) -> Span | None:
    """Span of a safetensors file's header, whose length stands in the first eight bytes; None where it is cut short."""
    end = 8 + int.from_bytes(file.read(8), "little")
    return Span(8, end) if end <= size else None


def _place_of_digest(file: BinaryIO, metadata: Metadata) -> Span | str:
    """Span of the digest in an open file's metadata, or the reason why there is none (several count as none)."""
    span = metadata(file, os.fstat(file.fileno()).st_size)
    if span is None:
        return _FOREIGN
    found = list(_PLACE.finditer(_read(file, span)))
    if len(found) != 1:
        return UNSEALED
    return Span(span.start + found[0].start(1), span.start + found[0].end(1))


def _read(file: BinaryIO, span: Span) -> bytes:
    file.seek(span.start)
    return file.read(span.end - span.start)


def _digest_without(file: BinaryIO, place: Span) -> str:
    """SHA-256 of a file, in hexadecimal, with zeros in one place."""
    digest = hashlib.sha256()
    file.seek(0)
    left = place.start
    while part := file.read(min(left, _AT_ONCE)):
        digest.update(part)
        left -= len(part)
    digest.update(BLANK.encode())
    file.seek(place.end)
    while part := file.read(_AT_ONCE):
        digest.update(part)
    return digest.hexdigest()


def beside(path: Path | str) -> Path:
    """Path of the small file that holds the digest of a text or JSON file."""
    path = Path(path)
    return path.with_name(path.name + SUFFIX)


def write_beside(path: Path | str, digest: str) -> None:
    """Write a file's digest beside it, before or after the file, with its name and a checksum of the line itself."""
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


def damaged(path: Path | str, why: Exception | str) -> ArtefactError:
    """Move a damaged file aside; returns the error to raise.

    A file that could not be read at all, as on an unavailable file system, stays where it is.
    """
    path, reason = Path(path), " ".join(str(why).split())
    if isinstance(why, OSError) and why.errno is not None:
        return unreadable(path, why)
    aside = path.with_name(path.name + DAMAGED_SUFFIX)
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
