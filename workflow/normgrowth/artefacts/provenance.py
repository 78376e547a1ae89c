"""What made a file: hashes, settings and versions, and never a time or a place, so that equal work is equal bytes."""

import hashlib
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas", "pyarrow")


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that results depend on."""
    return {name: version(name) for name in ("normgrowth", *LIBRARIES)}


def provenance(**facts: object) -> dict:
    """The metadata of an artefact: the given facts (settings, seeds, hashes, device) beside all versions."""
    return {**facts, "versions": versions()}
