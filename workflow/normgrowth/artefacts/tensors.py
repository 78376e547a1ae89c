"""The only reader and writer of safetensors besides transformers' own model files."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from normgrowth.artefacts.atomic import whole_or_not_at_all
from normgrowth.artefacts.damage import damaged
from normgrowth.errors import ArtefactError

# One metadata entry holds everything as JSON: with several, their order in the file is not fixed.
METADATA_KEY = "normgrowth"
DIGEST = "sha256_of_tensors"


def write_tensors(path: Path | str, tensors: dict[str, torch.Tensor], metadata: dict) -> None:
    """Write named tensors and JSON metadata; equal content gives equal bytes.

    Raises:
        ArtefactError: when the disk is full.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    metadata = {**metadata, DIGEST: _digest(tensors)}
    with whole_or_not_at_all(path) as partial:
        save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def read_tensors(path: Path | str, device: str = "cpu") -> tuple[dict[str, torch.Tensor], dict]:
    """Read what `write_tensors` wrote: the tensors and the metadata.

    Raises:
        ArtefactError: when the file is missing or damaged, be it by a single bit.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = _metadata(file)
    if (digest := metadata.pop(DIGEST, None)) is not None and digest != _digest(tensors):
        raise damaged(path, "its tensors have not the hash that it carries")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, metadata


def read_metadata(path: Path | str) -> dict:
    """The metadata alone.

    Raises:
        ArtefactError: when the file is missing or damaged.
    """
    with _opened(path) as file:
        metadata = _metadata(file)
    metadata.pop(DIGEST, None)
    return metadata


def _metadata(file) -> dict:
    return json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Hash over the names and bytes of tensors on the CPU, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return digest.hexdigest()


@contextmanager
def _opened(path: Path | str) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} does not exist; the workflow makes it") from error
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
