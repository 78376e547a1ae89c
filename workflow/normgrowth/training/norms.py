"""Norms of every weight matrix of a model while all of it is trained.

A matrix is a parameter of two dimensions; one that two modules share counts once. A LoRA-adapted matrix W + s B A is
never formed: with A [r, d] and B [o, r],

    ||W + s B A||^2 = ||W||^2 + 2 s <B^T W, A> + s^2 <B^T B, A A^T>.
"""

import re
from collections.abc import Callable, Iterator

import torch
from torch import nn

from normgrowth.lm.anatomy import frobenius

Measure = Callable[[], tuple[float, float]]
"""Gives a matrix's norm and the norm of its change since the start."""


class MatrixNorms:
    """Watches matrices of a model; `rows` gives the table `interventions` (without names of the run) at a step."""

    def __init__(self, measures: dict[str, Measure]) -> None:
        self._measures = measures
        self._start = {name: measure()[0] for name, measure in measures.items()}

    def rows(self, step: int) -> list[dict]:
        """One row per matrix."""
        found = []
        for name, measure in self._measures.items():
            norm, drift = measure()
            start = self._start[name]
            ratio = norm / start if start else float("nan")
            found.append(row(name, step, norm, ratio, drift))
        return found


def row(name: str, step: int, norm: float, ratio: float, drift: float) -> dict:
    """A row of table `interventions`, without names of the run."""
    return {
        "step": step,
        "matrix": name,
        "layer": layer_of(name),
        "frobenius": norm,
        "frobenius_ratio": ratio,
        "drift_frobenius": drift,
    }


def layer_of(name: str) -> int | None:
    """The layer that a parameter's name numbers; None for embeddings and heads."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else None


def matrices(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every weight matrix of a model under its name; shared ones once."""
    return ((name, p) for name, p in model.named_parameters() if p.dim() == 2)


def of_weights(model: nn.Module) -> MatrixNorms:
    """Norms of all weight matrices."""
    return MatrixNorms({name: _plain(weight) for name, weight in matrices(model)})


def _plain(weight: nn.Parameter) -> Measure:
    start = weight.detach().clone()
    return lambda: (frobenius(weight.detach()), frobenius(weight.detach() - start))


def of_adapters(adapted: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]]) -> MatrixNorms:
    """Norms of matrices with adapters, as they would be once merged.

    Args:
        adapted: by the matrix's name, W [o, d], A [r, d], B [o, r] and s.
    """
    return MatrixNorms({name: _merged(*parts) for name, parts in adapted.items()})


def _merged(w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> Measure:
    square = frobenius(w) ** 2

    def measure() -> tuple[float, float]:
        left, right = b.detach().double(), a.detach().double()
        inner = ((left.T @ w.double()) * right).sum().item()
        added = ((left.T @ left) * (right @ right.T)).sum().item()
        return max(square + 2 * scale * inner + scale**2 * added, 0.0) ** 0.5, scale * max(added, 0.0) ** 0.5

    return measure
