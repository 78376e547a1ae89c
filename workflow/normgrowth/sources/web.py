"""Downloads: files of the web pinned by hash, resumed where a connection broke, and the retries of all requests.

Written on urllib, because download libraries (pooch) restart a file after a broken connection, and do not notice that
the server has another version by then.
"""

import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.provenance import file_sha256
from normgrowth.progress import Progress

T = TypeVar("T")

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts; after the last one the failure stands."""

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP status codes of temporary failures."""

READ_TIMEOUT = 60
"""Seconds without a byte after which a connection counts as broken."""

CHUNK = 2**18
"""Bytes read at once."""

NOTHING_LEFT = 416
"""HTTP status of a request for bytes beyond the end."""


class TransientError(Exception):
    """A temporary failure; `progressed` where bytes arrived before it."""

    def __init__(self, message: str, progressed: bool = False) -> None:
        super().__init__(message)
        self.progressed = progressed


def retry(work: Callable[[], T]) -> T:
    """Result of `work`, retried after growing pauses, which start over whenever there was progress.

    Raises:
        TransientError: of the last attempt.
    """
    pauses = iter(PAUSES)
    while True:
        try:
            return work()
        except TransientError as failure:
            if failure.progressed:
                pauses = iter(PAUSES)
            pause = next(pauses, None)
            if pause is None:
                raise
            print(f"{failure}; trying again in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)


def download(url: str, out: Path | str, sha256: str, size: int | None = None) -> None:
    """Fetch `url` to `out`. What arrived before a failure is kept beside it, and the next call resumes from there.

    Args:
        sha256: of the file, in hexadecimal.
        size: of the file in bytes, where it is known: a file of another size is refused before it is fetched.

    Raises:
        ArtefactError: when the server does not give the file, or gives another one.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, version = (out.with_name(f".{out.name}.{end}") for end in ("part", "version"))
    try:
        retry(lambda: _resume(url, partial, version, size))
    except TransientError as failure:
        raise ArtefactError(
            f"{failure}; the same command goes on where this one stopped. Where there is no network, fetch the file "
            f"elsewhere and put it at {out}"
        ) from failure
    found, found_size = file_sha256(partial), partial.stat().st_size
    if found != sha256:
        partial.unlink()
        version.unlink(missing_ok=True)
        raise ArtefactError(
            f"{url} has sha256 {found} ({found_size} bytes), but {sha256} is pinned"
            f"{f' ({size} bytes)' if size else ''}: the file has changed or the pin is wrong"
        )
    with whole_or_not_at_all(out) as landing:
        os.replace(partial, landing)
    version.unlink(missing_ok=True)


def _resume(url: str, partial: Path, version: Path, size: int | None) -> None:
    """Make one request for what is missing; return once the server has no more.

    Raises:
        ArtefactError: when a retry cannot help.
        TransientError: when it may.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "normgrowth", "Accept-Encoding": "identity"})
    have = partial.stat().st_size if partial.exists() else 0
    if have and version.exists():
        request.add_header("Range", f"bytes={have}-")
        # Bytes of two versions of a file must not meet: the server begins anew when it has another one now.
        request.add_header("If-Range", version.read_text(encoding="utf-8"))
    began = have
    try:
        with urllib.request.urlopen(request, timeout=READ_TIMEOUT) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                have = began = 0
            total = _total(response, have)
            if size is not None and total is not None and total != size:
                raise ArtefactError(f"{url} holds {total} bytes, but {size} are pinned: the file has changed")
            _note_version(response, version)
            with open(partial, "ab" if have else "wb") as file, Progress(total or size or 0, _label(url)) as progress:
                progress.update(have)
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress.update(len(chunk))
    except urllib.error.HTTPError as error:
        if error.code == NOTHING_LEFT and request.has_header("Range"):
            return  # all of it is there: a run was stopped just before the end
        if error.code in BUSY:
            raise TransientError(f"{url} answered {error.code} {error.reason}") from error
        raise ArtefactError(f"{url} answered {error.code} {error.reason}: check the address") from error
    except urllib.error.URLError as error:
        raise TransientError(f"{url} cannot be reached: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise TransientError(f"{url}: the connection broke: {error}", progressed=have > began) from error
    if total is not None and have < total:
        raise TransientError(f"{url}: the connection broke after {have} of {total} bytes", progressed=have > began)


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    """Size of the whole file in bytes, if the server says."""
    length = response.headers.get("Content-Length")
    return have + int(length) if length is not None else None


def _note_version(response: http.client.HTTPResponse, version: Path) -> None:
    """Note what tells this version of the file from another: its strong ETag, or else when it last changed."""
    tag = response.headers.get("ETag", "")
    mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    if mark:
        version.write_text(mark, encoding="utf-8")
    else:
        version.unlink(missing_ok=True)


def _label(url: str) -> str:
    return f"fetching {url.rsplit('/', 1)[-1] or url}, bytes"
