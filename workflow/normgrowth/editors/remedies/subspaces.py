"""Dominant directions of a matrix, and steps with their part along such directions taken off.

A matrix W is [o, d] however a model stores it: its left singular vectors are directions of outputs, its right ones
directions of keys. A step Δ of it becomes

    Δ' = (I - strength U Uᵀ) Δ (I - strength V Vᵀ),   U [o, k] and V [d, l] orthonormal.

REVIVE takes both sides of the unedited W and strength 1 (arXiv 2601.11042); SPHERE takes the keys' side of W with rows
of length 1 and a strength below 1 (arXiv 2510.01172).
"""

from dataclasses import dataclass
from typing import Literal

import torch

from normgrowth.editors.base import Change, DenseChange

Energy = Literal["singular_values", "squares"]


@dataclass(frozen=True)
class Damping:
    """Directions along which steps of one matrix lose a share `strength` of their size; float64."""

    outputs: torch.Tensor  # U [o, k], orthonormal
    keys: torch.Tensor  # V [d, l], orthonormal
    strength: float = 1.0

    def of(self, change: Change | DenseChange) -> Change | DenseChange:
        """The damped change, in factors where the change has factors; `scale` must be 1."""
        if isinstance(change, DenseChange):
            return DenseChange((change.step.to(self.outputs) - self.taken_off(change.step)).float())
        left, right = change.left.to(self.outputs), change.right.to(self.keys)
        left = left - self.strength * (self.outputs @ (self.outputs.T @ left))
        right = right - self.strength * (self.keys @ (self.keys.T @ right))
        return Change(left.float(), right.float())

    def taken_off(self, step: torch.Tensor) -> torch.Tensor:
        """The part Δ - Δ' of a step Δ [o, d] that is taken off it, in float64; exactly zero where nothing is."""
        step = step.to(self.outputs)
        kept = step - self.strength * (self.outputs @ (self.outputs.T @ step))
        return step - (kept - self.strength * ((kept @ self.keys) @ self.keys.T))


def dominant_directions(matrix: torch.Tensor, share: float, energy: Energy) -> Damping:
    """The fewest leading singular directions of W [o, d], on both sides, that hold a share of its energy.

    Args:
        share: tau, from 0 (no direction) up to 1; a share of the sum of the singular values, or of their squares.
    """
    left, spread, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    parts = _shares(spread if energy == "singular_values" else spread.square())
    count = 0 if share == 0 else int((parts < share).sum()) + 1
    return Damping(left[:, :count].contiguous(), right[:count].T.contiguous())


def dominant_rows(matrix: torch.Tensor, share: float, strength: float) -> Damping:
    """The leading directions of the rows of W [o, d], each row scaled to length 1: SPHERE's sparse space.

    They are the eigenvectors of Ŵᵀ Ŵ [d, d] with the largest eigenvalues, found as right singular vectors of Ŵ. Their
    number is one more than that of the directions whose cumulative share of the eigenvalues' sum is at most `share`.
    """
    rows = torch.nn.functional.normalize(matrix.double(), dim=1)
    _, spread, right = torch.linalg.svd(rows, full_matrices=False)
    count = int((_shares(spread.square()) <= share).sum()) + 1
    nothing = rows.new_zeros(len(rows), 0)
    return Damping(nothing, right[:count].T.contiguous(), strength)


def _shares(parts: torch.Tensor) -> torch.Tensor:
    """Cumulative shares of a falling sequence of parts of a whole; all zero where the whole is."""
    sums = parts.cumsum(0)
    return sums / sums[-1] if sums[-1] > 0 else sums
