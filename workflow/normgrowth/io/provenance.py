"""Provenance of files: hashes, settings and versions; no time or path, so that equal work gives equal bytes."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from normgrowth import __version__

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas", "pyarrow")

UNSTATED: Mapping[str, object] = {"stream": None, "gradient_moments": None}
"""Entries that a file leaves out where they have these values, and that mean them where they are missing."""

UNKNOWN = "unknown"
"""Version of a library without installation metadata."""


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: when the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that results depend on; `unknown` where none is recorded."""
    return {"normgrowth": __version__, **{name: _version(name) for name in LIBRARIES}}


def _version(name: str) -> str:
    # Code may be installed without a record of it, which must not cost a result.
    try:
        return version(name) or UNKNOWN
    except PackageNotFoundError:
        return UNKNOWN


def provenance(**facts: object) -> dict:
    """The metadata of an artefact: the given facts (settings, seeds, hashes, device) beside all versions."""
    stated = {name: value for name, value in facts.items() if name not in UNSTATED or value != UNSTATED[name]}
    return {**stated, "versions": versions()}
