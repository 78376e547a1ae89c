"""Linear systems of closed forms: solved in float64 by Cholesky, or refused with the reason and the remedy.

Keys come from float32 forward passes, so a number no larger than their rounding means nothing. Errors raised here do
not name the layer or the facts; `naming` adds them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named

ROUNDING = torch.finfo(torch.float32).eps
"""Relative rounding of the forward passes that keys come from."""

SAME_KEY = 1e-5
"""Distance below which two keys of unit length are one key: in passes with other rows, keys differ by up to about a
tenth of it."""

SAME_VALUE = 1e-3
"""Share of the residuals by which those of one key may differ: rounding between searches is smaller."""


class UnsolvableError(EditError):
    """A closed form has no usable solution: the reason and the remedy, to follow "the update of layer 3 for case 7".

    `columns` are the facts of the batch that are to blame, by number; None where all of them are.
    """

    def __init__(self, reason: str, columns: list[int] | None = None) -> None:
        super().__init__(reason)
        self.columns = columns


@contextmanager
def naming(layer: int, facts: list[Fact]) -> Iterator[None]:
    """Name the layer and the facts in the error of a system that has no solution.

    Raises:
        EditError: in place of an `UnsolvableError`.
    """
    try:
        yield
    except UnsolvableError as error:
        blamed = facts if error.columns is None else [facts[column] for column in error.columns]
        raise EditError(f"the update of layer {layer} for {named(blamed)} {error}") from None


def require_finite(matrix: torch.Tensor) -> None:
    """Refuse a system with entries that are no numbers.

    Raises:
        UnsolvableError: when it has any.
    """
    if not torch.isfinite(matrix).all():
        raise UnsolvableError("works on keys or weights that are not finite: the model has broken down by then")


def solve_positive(matrix: torch.Tensor, wanted: torch.Tensor, remedy: str) -> torch.Tensor:
    """M⁻¹ Y for a symmetric positive definite M [n, n] and Y [n, m], both in float64.

    Args:
        remedy: what to change where M is not positive definite.

    Raises:
        UnsolvableError: when M is not positive definite to the rounding of float64, or not finite.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    # Share [n] of each diagonal entry that remains after elimination of the rows before: rounding, if M is singular.
    left = factor.diagonal().square() / matrix.diagonal()
    if failed or left.min() <= len(matrix) * torch.finfo(matrix.dtype).eps:
        require_finite(matrix)
        raise UnsolvableError(f"has no solution: its system is not positive definite; {remedy}")
    return torch.cholesky_solve(wanted, factor)


def independent(keys: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Independent keys K' [d, r] that replace keys K [d, b], and the matrix M [b, r] that gives their residuals.

    A change Δ with Δ K = R, for residuals R [o, b], is one with Δ K' = R M. Where the keys are independent, K itself is
    returned, and None for M. Residuals of one key that differ by rounding are averaged.

    Raises:
        UnsolvableError: when dependent keys have residuals that contradict each other.
    """
    lengths = keys.norm(dim=0)
    if keys.shape[1] == 1 or not (torch.isfinite(keys).all() and (lengths > 0).all()):
        return keys, None  # the solve refuses what is not finite or zero
    left, spread, right = torch.linalg.svd(keys / lengths, full_matrices=False)
    kept = spread > SAME_KEY
    if len(spread) == keys.shape[1] and kept.all():
        return keys, None
    basis = right[kept].T  # [b, r]
    scaled = residual.double() / lengths
    # The part of the residuals [o, b] that no change can give, since the keys depend on each other.
    contradiction = scaled - scaled @ basis @ basis.T
    if contradiction.norm() > SAME_VALUE * scaled.norm():
        sizes = contradiction.norm(dim=0)
        raise UnsolvableError(
            "cannot send keys that depend on each other to different values exactly (facts about one subject after "
            "the same words have one key): set slack above 0, or edit them in different batches",
            (sizes > 0.1 * sizes.max()).nonzero().flatten().tolist(),
        )
    return left[:, kept], basis / spread[kept] / lengths[:, None]
