"""Check of a checkpoint's numbers: finite ones, and one embedding where the model has one."""

from collections.abc import Iterator, Mapping

import torch
from safetensors import safe_open
from torch import nn

from normgrowth.errors import ModelError
from normgrowth.sources.checkpoint_files import CONFIG, Tensor, listed
from normgrowth.sources.checkpoint_fit import HARMLESS, Fit

NUMBERS_AT_ONCE = 1 << 24
"""Numbers of a tensor in memory at once, so that files larger than the memory can be checked."""

LARGEST = torch.finfo(torch.float32).max


def check_files(tensors: Mapping[str, Tensor], fitted: Fit) -> None:
    """Check every number in the files of a checkpoint that fits its configuration.

    Raises:
        ModelError: when some are NaN, infinite or beyond float32, or what should be tied differs; a few are named.
    """
    _refuse(name for name, tensor in tensors.items() if not HARMLESS.search(name) and not _finite_in_file(name, tensor))
    for first, second in _tied_in_files(tensors, fitted):
        if not torch.equal(_read(first, tensors[first]), _read(second, tensors[second])):
            raise ModelError(_untied(first, second))


def check_loaded(model: nn.Module, fitted: Fit) -> None:
    """Check every number of a loaded model.

    Raises:
        ModelError: when some are NaN or infinite, or what should be tied is not; a few are named.
    """
    _refuse(name for name, weights in model.named_parameters() if not _finite(weights.detach()))
    for first, second in fitted.model.all_tied_weights_keys.items():
        if model.get_parameter(first) is not model.get_parameter(second):
            raise ModelError(_untied(first, second))


def _refuse(names: Iterator[str]) -> None:
    if broken := list(names):
        raise ModelError(
            f"the weights hold NaN or infinite values (in {listed(broken)}): save the model again from a "
            "state before it broke"
        )


def _untied(first: str, second: str) -> str:
    return (
        f"{CONFIG} ties {first} to {second} (tie_word_embeddings), but the weights hold different ones: set it to "
        f"false, or save the model without {first}"
    )


def _tied_in_files(tensors: Mapping[str, Tensor], fitted: Fit) -> Iterator[tuple[str, str]]:
    """Pairs of names in the files, both there, that the model holds as one."""
    inner = f"{fitted.model.base_model_prefix}."
    by_name = {fitted.renamed.get(name, name): name for name in tensors}
    by_name = {inner + name: old for name, old in by_name.items()} | by_name
    for pair in fitted.model.all_tied_weights_keys.items():
        if all(name in by_name for name in pair):
            yield by_name[pair[0]], by_name[pair[1]]


def _finite_in_file(name: str, tensor: Tensor) -> bool:
    """Test for finite numbers in a tensor of a file, read some rows at a time."""
    with safe_open(tensor.file, framework="pt") as file:
        if not tensor.shape or not tensor.shape[0]:
            return _finite(file.get_tensor(name))
        rows = file.get_slice(name)
        numbers = max(1, torch.Size(tensor.shape[1:]).numel())
        step = max(1, NUMBERS_AT_ONCE // numbers)
        return all(_finite(rows[start : start + step]) for start in range(0, tensor.shape[0], step))


def _read(name: str, tensor: Tensor) -> torch.Tensor:
    with safe_open(tensor.file, framework="pt") as file:
        return file.get_tensor(name).float()


def _finite(values: torch.Tensor) -> bool:
    """Test for values that are all finite in float32, in one pass and without a copy."""
    if not values.numel() or values.device.type == "meta":
        return True
    least, most = map(float, torch.aminmax(values))
    return least >= -LARGEST and most <= LARGEST  # false for NaN
