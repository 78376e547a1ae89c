"""Matrices of a model rounded to the precision of its forward passes, once for each change of theirs.

Autocasting rounds every float32 matrix anew in every pass, which costs more than a pass over a few rows itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


class _Copy(NamedTuple):
    version: int  # of the parameter when it was rounded: torch counts changes in place
    of: int  # address of its values
    rounded: nn.Parameter


class RoundedMatrices:
    """Rounded copies of the matrices of a module's linear maps. They take half of the memory of the float32 ones."""

    def __init__(self, module: nn.Module, precision: torch.dtype) -> None:
        self.precision = precision
        self._maps = [part for part in module.modules() if isinstance(part, nn.Linear | Conv1D)]
        self._copies: dict[nn.Module, _Copy] = {}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the linear maps have their rounded matrices inside the block; those that are trained keep their own."""
        own = {part: weight for part in self._maps if not (weight := part.get_parameter("weight")).requires_grad}
        try:
            for part, weight in own.items():
                part._parameters["weight"] = self._rounded(part, weight)
            yield
        finally:
            for part, weight in own.items():
                part._parameters["weight"] = weight

    def _rounded(self, part: nn.Module, weight: nn.Parameter) -> nn.Parameter:
        copy = self._copies.get(part)
        if copy is None or (copy.version, copy.of) != (weight._version, weight.data_ptr()):
            rounded = nn.Parameter(weight.detach().to(self.precision), requires_grad=False)
            copy = self._copies[part] = _Copy(weight._version, weight.data_ptr(), rounded)
        return copy.rounded
