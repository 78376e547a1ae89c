"""The only writer of the workflow's text and JSON; each file has its digest beside it."""

import hashlib
import json
from pathlib import Path

from normgrowth.artefacts.atomic import whole_or_not_at_all
from normgrowth.artefacts.digests import check_beside, write_beside


def write_json(path: Path | str, value: object) -> None:
    """Write `value` as indented JSON with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text and its digest beside it, each whole or not at all.

    Raises:
        ArtefactError: when the disk is full or the place cannot be written.
    """
    data = text.encode("utf-8")
    # The digest first: a file that is there has its digest, whenever the process is killed.
    write_beside(path, hashlib.sha256(data).hexdigest())
    with whole_or_not_at_all(path) as partial:
        partial.write_bytes(data)


def intact(path: Path | str) -> Path:
    """The path of a file that the workflow wrote, once its bytes are found to be those that were written.

    Commands declare it as the type of arguments that name such files, so that each is checked before any work.

    Raises:
        ArtefactError: when the file or its digest is missing, or it has changed, be it by a single bit; a changed file
            is moved aside.
    """
    check_beside(path)
    return Path(path)


def read_json(path: Path | str) -> object:
    """The value of a file that `write_json` wrote.

    Raises:
        ArtefactError: as `intact` does.
    """
    return json.loads(intact(path).read_bytes())
