"""Models of GGUF files, as llama.cpp uses them: read by transformers, and stored as float32 safetensors.

Weights of such a file are mostly quantised. Turned back into float32 they are not those of the model that was
quantised; a note of it goes into the manifest, and from there into every table.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from transformers import AutoModelForCausalLM, PreTrainedModel

from normgrowth.errors import ModelError, NormgrowthError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.documents import write_json
from normgrowth.sources.checkpoint_files import listed
from normgrowth.sources.checkpoint_fit import misfits, said
from normgrowth.sources.gguf_header import Header, Stored, named, read_header
from normgrowth.sources.gguf_tokenizer import read_tokenizer, require_same
from normgrowth.sources.loading import ORIGIN, check_model, quieten, refuse_what_would_be_lost
from normgrowth.sources.manifest import QUANTISATION, revision, write_manifest

PLAIN = ("F32", "F16", "BF16", "F64")
"""Types that are no quantisation."""

LEAST_SHARE = 0.005
"""Share of the weights below which a type is not named: norms and biases."""

READ_AT_ONCE = 1 << 22


def import_gguf(parts: Sequence[Path], sha256: str, out: Path, check: Callable[[Header], None]) -> None:
    """Make a model folder from a GGUF file: float32 safetensors, tokenizer and manifest. Equal files give equal bytes.

    Args:
        parts: the file, or the files that it was cut into, in their order.
        sha256: of the whole file.
        out: the folder.
        check: called with the file's header before the model is read; it may refuse it.

    Raises:
        ModelError: when the file is another one, is cut, or is none that transformers reads as it is meant; or the
            folder holds something that would be lost.
    """
    refuse_what_would_be_lost(out)
    quieten()
    what = named(parts)
    with whole_or_not_at_all(out) as folder:
        folder.mkdir()
        with TemporaryDirectory(dir=folder) as place:
            # Alone in a folder under a fixed name: files beside it must not be read, nor its name matter.
            file = Path(place) / "model.gguf"
            found = _gather(parts, file)
            if found != sha256:
                raise ModelError(f"{what} has SHA-256 {found}, and not {sha256}: {_cause(parts)}")
            header = read_header(parts)
            kinds = _kinds(header, what)
            check(header)
            try:
                _convert(file, header, folder)
            except ModelError as error:
                raise ModelError(f"{what} cannot be used: {error}") from error
        check_model(folder, what)
        note = quantisation(header, kinds)
        write_manifest(folder, {"kind": "gguf", "sha256": sha256, **({QUANTISATION: note} if note else {})})
        write_json(folder / ORIGIN, {"model": revision(folder), "tensors": Counter(kinds.values())})


def quantisation(header: Header, kinds: Mapping[str, str]) -> str | None:
    """Note of how a model's weights were quantised, by their shares; None where they were not.

    Args:
        kinds: type of each tensor by its name, in ggml's words.
    """
    numbers: Counter[str] = Counter()
    for tensor in header.tensors:
        numbers[kinds[tensor.name]] += tensor.numbers
    if set(numbers) <= set(PLAIN):
        return None
    shares = [(kind, count / numbers.total()) for kind, count in numbers.most_common()]
    mix = ", ".join(f"{kind} ({share:.0%})" for kind, share in shares if share >= LEAST_SHARE)
    return f"{mix}, turned back into float32"


def _gather(parts: Sequence[Path], file: Path) -> str:
    """Put a file's parts together, or link its only one; return the SHA-256 of the whole."""
    digest = hashlib.sha256()
    if len(parts) == 1:
        file.symlink_to(parts[0].resolve())
        for piece in _pieces(parts[0]):
            digest.update(piece)
    else:
        with file.open("wb") as whole:
            for part in parts:
                for piece in _pieces(part):
                    digest.update(piece)
                    whole.write(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(READ_AT_ONCE):
                yield piece
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): correct the path") from error


def _cause(parts: Sequence[Path]) -> str:
    """What may be wrong with a file of another hash, and the remedy, in words."""
    try:
        _kinds(read_header(parts), named(parts))
    except ModelError as error:
        return str(error)
    order = "give its parts in their order, or " if len(parts) > 1 else ""
    return f"{order}get the file again, or correct sha256 if this is the one that is meant"


def _kinds(header: Header, what: str) -> dict[str, str]:
    """Type of each tensor by its name, once all of them are found to lie within the file.

    Raises:
        ModelError: when the file is cut, or a type is unknown.
    """
    kinds, end = {}, header.data_start
    for tensor in header.tensors:
        try:
            kind = GGMLQuantizationType(tensor.kind)
        except ValueError as error:
            raise ModelError(
                f"{what} holds {tensor.name} in a type of number {tensor.kind}, which the package gguf does not know: "
                "give a file in another quantisation"
            ) from error
        kinds[tensor.name] = kind.name
        end = max(end, header.data_start + tensor.offset + _bytes(tensor, kind))
    if end > header.size:
        raise ModelError(f"{what} is cut: its header speaks of {end} bytes, and it holds {header.size}; get it again")
    return kinds


def _bytes(tensor: Stored, kind: GGMLQuantizationType) -> int:
    numbers, size = GGML_QUANT_SIZES[kind]
    return tensor.numbers // numbers * size


def _convert(file: Path, header: Header, folder: Path) -> None:
    """Read a GGUF file by transformers, and save configuration, weights and tokenizer."""
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(  # typed without the loading info
            str(file.parent),
            gguf_file=file.name,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
        tokenizer = read_tokenizer(file.parent, file.name, header)
    except (NormgrowthError, MemoryError):
        raise
    except Exception as error:  # its readers check little
        raise ModelError(
            f"transformers cannot read it, of architecture {header.architecture!r}: {said(error)}"
        ) from error
    model, told = loaded
    if misfit := misfits(told):
        raise ModelError(misfit.fault)
    _require_whole(model, header)
    model.hf_quantizer = None  # the weights are plain ones now, and a quantised model would not be saved
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer.chat_template = None  # not read here
    tokenizer.save_pretrained(folder)
    require_same(tokenizer, folder)


def _require_whole(model: PreTrainedModel, header: Header) -> None:
    """Refuse a model that lacks something of the file: transformers leaves out in silence what it has no place for.

    Raises:
        ModelError: naming the first tensors, or the key.
    """
    places = Counter(_dimensions(parameter.shape) for parameter in model.parameters())
    left_out = []
    for tensor in header.tensors:
        dimensions = _dimensions(tensor.shape)
        places[dimensions] -= 1
        if places[dimensions] < 0:
            left_out.append(tensor.name)
    if left_out:
        raise ModelError(
            f"transformers leaves out {listed(left_out)}, so that it would be another model: give it as transformers "
            "saves it (kind: local)"
        )
    key = f"{header.architecture}.rope.scaling.type"
    scaling = header.fields.get(key, "none")
    if scaling != "none" and "default" in _rotary_types(model.config.get_text_config().to_dict()):
        raise ModelError(
            f"transformers leaves out the scaling of its positions ({key}: {scaling}), so that it would be another "
            "model: give it as transformers saves it (kind: local)"
        )


def _dimensions(shape: Sequence[int]) -> tuple[int, ...]:
    """Dimensions in an order of their own: files and models transpose some matrices."""
    return tuple(sorted(size for size in shape if size > 1))


def _rotary_types(settings: object) -> set[object]:
    """Types of rotary positions that a configuration names, at any depth."""
    if not isinstance(settings, dict):
        return set()
    found = {settings["rope_type"]} if "rope_type" in settings else set()
    return found.union(*map(_rotary_types, settings.values()))
