"""The directions that text leaves almost unused: where AlphaEdit confines its updates (arXiv 2410.02355).

With C = U diag(s) Uᵀ, P projects onto the columns of U whose s is below a threshold.
"""

from dataclasses import dataclass

import torch

from normgrowth.editors.second_moment import SecondMoment
from normgrowth.errors import ModelError

RELATIVE_THRESHOLD = 0.1
"""Threshold in units of tr(C) / d where none is given: published code compares with the absolute number 0.02, which
means something else for every model and layer."""


@dataclass(frozen=True)
class NullSpace:
    """P [d, d] of one layer, kept by its thinner side: an orthonormal basis of its range or of what it removes."""

    basis: torch.Tensor  # [d, r], float64
    spans_range: bool
    layer: int
    mean_square: float  # tr(C) / d of the second moment it was made from

    @property
    def rank(self) -> int:
        """Dimensions that an update may use."""
        d, r = self.basis.shape
        return r if self.spans_range else d - r

    def project(self, keys: torch.Tensor) -> torch.Tensor:
        """P K for keys [d, b], in float64."""
        keys = keys.double()
        inside = self.basis @ (self.basis.T @ keys)
        return inside if self.spans_range else keys - inside


def null_space(moment: SecondMoment, threshold: float | None = None) -> NullSpace:
    """The eigenvectors of C with eigenvalues below `threshold`, or below a share of their mean where none is given.

    Raises:
        ModelError: when no direction lies below the threshold.
    """
    values, vectors = torch.linalg.eigh(moment.moment)  # ascending
    limit = RELATIVE_THRESHOLD * moment.mean_square if threshold is None else threshold
    below = int((values < limit).sum())
    if below == 0:
        raise ModelError(
            f"the second moment of layer {moment.layer} has no eigenvalue below {limit:.3g} (the least is "
            f"{values[0]:.3g}), so nothing may be changed there: raise null_space_threshold"
        )
    spans_range = 2 * below <= len(values)
    basis = vectors[:, :below] if spans_range else vectors[:, below:]
    return NullSpace(basis.contiguous(), spans_range, moment.layer, moment.mean_square)
