"""The only reader and writer of safetensors, besides the files of models, which are transformers' own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.digests import BLANK, KEY, check_seal, damaged, safetensors_header, seal
from normgrowth.io.identity import Named

# One metadata entry holds everything as JSON: with several, their order in the file is not fixed.
METADATA_KEY = "normgrowth"
KIND = "artefact"


def write_tensors(path: Path | str, tensors: dict[str, torch.Tensor], metadata: dict, kind: str) -> None:
    """Write named tensors and JSON metadata; equal content gives equal bytes.

    Args:
        metadata: JSON values.
        kind: kind of the file, which readers ask for: "state".

    Raises:
        ArtefactError: when the disk is full.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    metadata = {**metadata, KIND: kind, KEY: BLANK}
    with whole_or_not_at_all(path) as partial:
        save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})
        seal(partial, safetensors_header)


def read_tensors(
    path: Path | str, kind: str | None = None, device: str = "cpu"
) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors, by name and on `device`, and metadata of a file that `write_tensors` wrote.

    Asking either for a name that is not there is an error that names the file.

    Args:
        kind: kind that the file must be of; None for any.

    Raises:
        ArtefactError: when the file is missing, of another kind or damaged, be it by a single bit.
    """
    with _opened(path, kind) as (file, metadata):
        # Copied, because a tensor in the mapped file is aligned by the header's length, and the rounding of sums
        # depends on the alignment.
        tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
    return Named(path, {name: tensor.to(device) for name, tensor in tensors.items()}), metadata


def read_metadata(path: Path | str, kind: str | None = None) -> dict:
    """Metadata of a file that `write_tensors` wrote; arguments and errors are those of `read_tensors`."""
    with _opened(path, kind) as (_, metadata):
        return metadata


@contextmanager
def _opened(path: Path | str, kind: str | None) -> Iterator[tuple[safe_open, dict]]:
    check_seal(path, safetensors_header)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA_KEY])
            del metadata[KEY]
            if (found := metadata.pop(KIND, None)) != kind and kind is not None:
                raise ArtefactError(f"{path} holds {found}, not {kind}; delete it and run the workflow again")
            yield file, Named(path, metadata)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
