"""The directions that text leaves almost unused: where AlphaEdit confines its updates (arXiv 2410.02355).

With C = U diag(s) Uᵀ, P projects onto the columns of U whose s is below a threshold.
"""

from dataclasses import dataclass

import torch

from normgrowth.editors.moments.second_moment import SecondMoment
from normgrowth.errors import ModelError

RELATIVE_THRESHOLD = 1.0
"""Threshold in units of the mean eigenvalue tr(C) / d where none is given: text uses what lies below less than the
average direction. Published code compares with the absolute number 0.02, which means something else for every model
and layer; the mean lies near it on a pretrained model, and has something below it on any."""
ROUNDING = 1e-9
"""Share of the mean by which equal eigenvalues may lie above it."""


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
    """The eigenvectors of C with eigenvalues below `threshold`, or up to their mean where none is given.

    Raises:
        ModelError: when no direction lies below a given threshold, or when C is not finite.
    """
    moment.check()
    values, vectors = torch.linalg.eigh(moment.moment)  # ascending
    if threshold is None:
        below = int((values <= RELATIVE_THRESHOLD * moment.mean_square * (1 + ROUNDING)).sum())
    else:
        below = int((values < threshold).sum())
        if below == 0:
            raise ModelError(
                f"null_space_threshold is {threshold:g}, and the second moment of layer {moment.layer} has no "
                f"eigenvalue below it (the least is {values[0]:.3g}, their mean {moment.mean_square:.3g}), so nothing "
                "may be changed there: raise null_space_threshold in the editor's settings, or leave it out"
            )
    spans_range = 2 * below <= len(values)
    basis = vectors[:, :below] if spans_range else vectors[:, below:]
    return NullSpace(basis.contiguous(), spans_range, moment.layer, moment.mean_square)
