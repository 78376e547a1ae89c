"""Norms of every weight matrix of a model: during training, and between two published checkpoints.

A matrix is a parameter of two dimensions; one that two modules share counts once. A LoRA-adapted matrix W + s B A is
never formed: with A [r, d] and B [o, r],

    ||W + s B A||^2 = ||W||^2 + 2 s <B^T W, A> + s^2 <B^T B, A A^T>.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import frobenius
from normgrowth.sources.checkpoint_files import Tensor, tensors_of
from normgrowth.sources.manifest import verify

Measure = Callable[[], tuple[float, float]]
"""Function that returns a matrix's norm, and the norm of its change since the start."""


class Adapted(NamedTuple):
    """A matrix with a LoRA adapter, W + s B A."""

    weight: torch.Tensor  # W [o, d]
    a: torch.Tensor  # A [r, d]
    b: torch.Tensor  # B [o, r]
    scale: float  # s


class MatrixNorms:
    """Norms of a model's matrices from step to step."""

    def __init__(self, measures: dict[str, Measure]) -> None:
        self._measures = measures
        self._start = {name: measure()[0] for name, measure in measures.items()}

    def rows(self, step: int) -> list[dict]:
        """Rows of table `interventions`, one per matrix.

        Returns:
            `step, matrix, layer, frobenius, frobenius_ratio` (to the start), `drift_frobenius` (from the start).
        """
        found = []
        for name, measure in self._measures.items():
            norm, drift = measure()
            found.append(_row(name, step, norm, ratio_of(norm, self._start[name]), drift))
        return found


def ratio_of(norm: float, start: float) -> float:
    """The norm in units of that at the start; NaN for a matrix that was zero."""
    return norm / start if start else float("nan")


def _row(name: str, step: int, norm: float, ratio: float, drift: float) -> dict:
    """A row of table `interventions`, without the names of the run."""
    return {
        "step": step,
        "matrix": name,
        "layer": layer_of(name),
        "frobenius": norm,
        "frobenius_ratio": ratio,
        "drift_frobenius": drift,
    }


def layer_of(name: str) -> int | None:
    """Layer number in a parameter's name; None for embeddings and heads."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else None


def matrices(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Weight matrices of a model under their names; shared ones once."""
    return ((name, p) for name, p in model.named_parameters() if p.dim() == 2)


def of_weights(model: nn.Module) -> MatrixNorms:
    """Norms of all weight matrices of a model."""
    return MatrixNorms({name: _plain(weight) for name, weight in matrices(model)})


def _plain(weight: nn.Parameter) -> Measure:
    start = weight.detach().clone()
    return lambda: (frobenius(weight.detach()), frobenius(weight.detach() - start))


def of_adapters(adapted: dict[str, Adapted]) -> MatrixNorms:
    """Norms of matrices with adapters, by the matrices' names, as they would be once merged."""
    return MatrixNorms({name: _merged(adapter) for name, adapter in adapted.items()})


def _merged(adapter: Adapted) -> Measure:
    w, a, b, scale = adapter
    square = frobenius(w) ** 2

    def measure() -> tuple[float, float]:
        left, right = b.detach().double(), a.detach().double()
        inner = ((left.T @ w.double()) * right).sum().item()
        added = ((left.T @ left) * (right @ right.T)).sum().item()
        return max(square + 2 * scale * inner + scale**2 * added, 0.0) ** 0.5, scale * max(added, 0.0) ** 0.5

    return measure


def compare_checkpoints(base: Path, result: Path) -> pd.DataFrame:
    """Norms of the matrices that two published checkpoints of a model share, read one by one.

    Matrices are compared in float32 under the same names; those that only one of them has are left out.

    Returns:
        Table `interventions` without the names of the run: `step` (0 is the base, 1 the result), `matrix, layer,
        frobenius, frobenius_ratio, drift_frobenius`.

    Raises:
        ModelError: when a folder lacks its weights or holds others than its manifest says, no matrix is common, or
            shapes differ.
    """
    before, after = tensors_of(verify(base)), tensors_of(verify(result))
    rows = []
    for name in sorted(before.keys() & after.keys()):
        if len(before[name].shape) != 2:
            continue
        if before[name].shape != after[name].shape:
            raise ModelError(
                f"{name} is {before[name].shape} in {base} and {after[name].shape} in {result}: "
                "these are not checkpoints of one model"
            )
        first, second = _read(before[name], name), _read(after[name], name)
        start, end = frobenius(first), frobenius(second)
        rows += [
            _row(name, 0, start, 1.0, 0.0),
            _row(name, 1, end, ratio_of(end, start), frobenius(second - first)),
        ]
    if not rows:
        raise ModelError(f"{base} and {result} have no weight matrix of the same name")
    return pd.DataFrame(rows)


def _read(tensor: Tensor, name: str) -> torch.Tensor:
    try:
        with safe_open(tensor.file, framework="pt") as opened:
            return opened.get_tensor(name).float()
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{tensor.file} is missing or damaged ({error}); fetch the model again") from error
