"""Users' text files: read in the Unicode encoding that they declare, or refused with a guess of what they are."""

import codecs
from pathlib import Path

from normgrowth.errors import NormgrowthError

# UTF-32's mark for little endian begins with UTF-16's, so it comes first.
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
_FORMATS = {
    b"\x1f\x8b": "a gzip file: unpack it with gunzip",
    b"PK\x03\x04": "a zip file: unpack it with unzip",
    b"BZh": "a bzip2 file: unpack it with bunzip2",
    b"\xfd7zXZ\x00": "an xz file: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it with unzstd",
    b"PAR1": "a Parquet file: a text source reads it if `column` names its column; save facts as a JSON list",
    b"%PDF": "a PDF: extract its text first",
}
_LOOKED_AT = 4096
_FEWEST_ZEROS = 0.2
"""Share of zeros among the bytes at even or odd places from which a file without a mark is taken for UTF-16."""


def read_unicode(path: Path | str, kind: str, fault: type[NormgrowthError]) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark; line ends become line feeds.

    Args:
        kind: name of such files in errors: "facts file".
        fault: type of the errors to raise.

    Raises:
        fault: when the file cannot be read or is in another encoding, with a guess of it and the remedy.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise fault(f"{kind} {path} does not exist") from error
    except IsADirectoryError as error:
        raise fault(f"{kind} {path} does not exist: there is a folder of that name") from error
    except OSError as error:
        raise fault(f"{kind} {path} cannot be read: {error.strerror}") from error
    for beginning, what in _FORMATS.items():
        if data.startswith(beginning):
            raise fault(f"{kind} {path} is {what}")
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark, "UTF-8")
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        seems = _wide_encoding(data) if not mark else None
        if seems:
            raise fault(_without_mark(kind, path, seems)) from error
        place = error.start + len(mark)
        raise fault(
            f"{kind} {path} is not {encoding}: {error.reason} at byte {place}; convert it with iconv"
        ) from error
    if "\0" in text:
        seems = _wide_encoding(data) if not mark else None
        if seems:
            raise fault(_without_mark(kind, path, seems))
        raise fault(f"{kind} {path} holds a NUL at character {text.index(chr(0))}: it is no text, or is damaged")
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _without_mark(kind: str, path: Path | str, encoding: str) -> str:
    return (
        f"{kind} {path} seems to be {encoding} without a byte-order mark: convert it with "
        f"`iconv -f {encoding} -t UTF-8`"
    )


def _wide_encoding(data: bytes) -> str | None:
    """Encoding of two or four bytes a character that the places of zero bytes suggest; None where there are few."""
    head = data[:_LOOKED_AT]
    zeros = [head[place::4].count(0) / max(1, len(head[place::4])) for place in range(4)]
    if min(zeros[1:]) > _FEWEST_ZEROS:
        return "UTF-32LE"
    if min(zeros[:3]) > _FEWEST_ZEROS:
        return "UTF-32BE"
    even, odd = (zeros[0] + zeros[2]) / 2, (zeros[1] + zeros[3]) / 2
    if max(even, odd) <= _FEWEST_ZEROS:
        return None
    return "UTF-16LE" if odd > even else "UTF-16BE"
