"""The only reader and writer of safetensors besides transformers' own model files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from normgrowth.artefacts.atomic import whole_or_not_at_all
from normgrowth.errors import ArtefactError

# One metadata entry holds everything as JSON: with several, their order in the file is not fixed.
METADATA_KEY = "normgrowth"


def write_tensors(path: Path | str, tensors: dict[str, torch.Tensor], metadata: dict) -> None:
    """Write named tensors and JSON metadata; equal content gives equal bytes.

    Raises:
        ArtefactError: when the disk is full.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    with whole_or_not_at_all(path) as partial:
        save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def read_tensors(path: Path | str, device: str = "cpu") -> tuple[dict[str, torch.Tensor], dict]:
    """Read what `write_tensors` wrote: the tensors and the metadata.

    Raises:
        ArtefactError: when the file is missing or damaged.
    """
    with _opened(path, device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _metadata(file)  # noqa: SIM118 - not a dict


def read_metadata(path: Path | str) -> dict:
    """The metadata alone.

    Raises:
        ArtefactError: when the file is missing or damaged.
    """
    with _opened(path, "cpu") as file:
        return _metadata(file)


def _metadata(file) -> dict:
    return json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))


@contextmanager
def _opened(path: Path | str, device: str) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} does not exist; the workflow makes it") from error
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); delete it and run the workflow again") from error
