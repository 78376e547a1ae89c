"""Manifests of model folders: the hash of every file of a model, and the check of the files against it.

The manifest is what the workflow depends on: it is small, and equal files make equal manifests. Loading a model checks
every file that it reads, so that a model matches its manifest bit for bit.
"""

import hashlib
import json
from pathlib import Path
from typing import TypedDict

from normgrowth.errors import ArtefactError, ModelError
from normgrowth.io.digests import beside
from normgrowth.io.documents import read_json, write_json
from normgrowth.io.known_hashes import confirmed
from normgrowth.io.provenance import file_sha256
from normgrowth.sources.checkpoint_files import MANIFEST, again, listed, model_files

SHOWN = 12
"""Digits of a hash in messages."""

QUANTISATION = "quantisation"
"""Entry of a manifest's source that says how the weights were quantised, where they were."""


class Manifest(TypedDict):
    """Content of a manifest."""

    source: dict[str, object]  # where the model comes from
    files: dict[str, str]  # SHA-256 by name


def write_manifest(folder: Path | str, source: dict) -> None:
    """Write the manifest of a complete model folder; `source` is where the model comes from.

    Raises:
        ModelError: when the folder is not that of a complete model.
    """
    manifest: Manifest = {"source": source, "files": _hashes(folder)}
    write_json(Path(folder) / MANIFEST, manifest)


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a model folder: `source`, and `files` with the SHA-256 of each.

    Raises:
        ModelError: when there is none, it has changed since it was written, or it holds something else.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = read_json(path)
    except ArtefactError as error:
        raise ModelError(str(error)) from error
    content = manifest if isinstance(manifest, dict) else {}
    files = content.get("files")
    if not isinstance(files, dict) or not files or not all(isinstance(digest, str) for digest in files.values()):
        raise ModelError(f"{path} is no manifest of a model: it names no hashes of files; {again(folder)}")
    return {"source": content.get("source", {}), "files": files}


def revision(folder: Path | str) -> str:
    """SHA-256 over the weights, configuration and tokenizer of a model, by its manifest: equal for equal models.

    Raises:
        ModelError: as `read_manifest` does.
    """
    return _revision(read_manifest(folder)["files"])


def quantisation(folder: Path | str) -> str | None:
    """Note of how the weights of a model were quantised before they became float32, by its manifest; None if not.

    Raises:
        ModelError: as `read_manifest` does.
    """
    note = read_manifest(folder)["source"].get(QUANTISATION)
    return note if isinstance(note, str) else None


def said_of_model(folder: Path | str, role: str = "model") -> dict[str, object]:
    """What files made from a model say of it: its revision, and how its weights were quantised, where they were.

    Args:
        role: beginning of the entries' names.

    Raises:
        ModelError: as `read_manifest` does.
    """
    said: dict[str, object] = {f"{role}_revision": revision(folder)}
    note = quantisation(folder)
    return said | ({f"{role}_{QUANTISATION}": note} if note else {})


def revision_of_files(folder: Path | str) -> str:
    """The revision of a model folder by its files, whatever its manifest says or lacks.

    Raises:
        ModelError: when the folder is not that of a complete model.
    """
    return _revision(_hashes(folder))


def _hashes(folder: Path | str) -> dict[str, str]:
    """SHA-256 by name of the files that loading reads.

    Raises:
        ModelError: when the folder is not that of a complete model.
    """
    return {path.name: file_sha256(path) for path in model_files(folder)}


def _revision(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def verify(folder: Path | str) -> list[Path]:
    """The files of a model folder that loading reads, each with the bytes that the manifest says.

    A folder without a manifest, as others save models, is taken as it is.

    Raises:
        ModelError: when a file differs, is missing or is not in the manifest; it is named, with the remedy.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists() and not beside(folder / MANIFEST).exists():
        return model_files(folder)
    stated = read_manifest(folder)["files"] if folder.is_dir() else {}
    # Files that exist come first, so that a damaged index is reported as such.
    for name, digest in sorted(stated.items()):
        if (folder / name).is_file():
            _require(folder / name, digest)
    files = model_files(folder)
    names = {file.name for file in files}
    if lost := sorted(set(stated) - names):
        raise ModelError(f"model folder {folder} lacks {listed(lost)}, which its {MANIFEST} names; {again(folder)}")
    if beyond := sorted(names - set(stated)):
        raise ModelError(
            f"model folder {folder} holds {listed(beyond)}, which its {MANIFEST} does not name: take away what is "
            f"left over, or {again(folder)}"
        )
    return files


def _require(file: Path, digest: str) -> None:
    """Refuse a file of other bytes than the manifest says.

    Raises:
        ModelError: naming the file, both hashes and the remedy.
    """
    try:
        found = confirmed(file, digest)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}): see to the file system and try again") from error
    if found != digest:
        kept = f", kept as {file.resolve()}," if file.is_symlink() else ""
        raise ModelError(
            f"model folder {file.parent} cannot be loaded: {file.name}{kept} is not the file that {MANIFEST} names; "
            f"its SHA-256 is {found[:SHOWN]}..., not {digest[:SHOWN]}...: {again(file.parent, file)}"
        )
