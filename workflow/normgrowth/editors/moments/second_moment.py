"""The second moment of a layer's keys, C = E[k kᵀ] over running text, uncentred: what closed forms protect.

Source: ROME (arXiv 2202.05262), appendix E.1.
"""

from dataclasses import dataclass, field

import torch

from normgrowth.errors import ModelError


@dataclass
class SecondMoment:
    """C [d, d] in float64 of one layer's keys, gathered from `count` tokens."""

    moment: torch.Tensor
    count: int
    layer: int
    _factors: dict[float, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def mean_square(self) -> float:
        """tr(C) / d: the mean squared entry of a key."""
        return (self.moment.trace() / len(self.moment)).item()

    @property
    def cost(self) -> torch.Tensor:
        """A copy of C in which units that no token turned on cost what the mean unit does.

        ReLU leaves such units (OPT): C says nothing of them, and its inverse would let an update use them for free.
        """
        matrix = self.moment.clone()
        diagonal = matrix.diagonal()
        diagonal[diagonal == 0] = self.mean_square
        return matrix

    def check(self) -> None:
        """Check that C is finite.

        Raises:
            ModelError: when it is not.
        """
        if not torch.isfinite(self.moment).all():
            raise ModelError(
                f"the second moment of layer {self.layer} is not finite: the model's keys overflow or are NaN on the "
                "text it was gathered from; check the model's weights, then gather it again"
            )

    def solve(self, keys: torch.Tensor, ridge: float = 0.0) -> torch.Tensor:
        """(C + ridge I)⁻¹ K for keys [d, b], in float64, C as in `cost`; each factor is computed once.

        Raises:
            ModelError: when the matrix is not positive definite, or not finite.
        """
        if ridge not in self._factors:
            matrix = self.cost
            matrix.diagonal().add_(ridge)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            self.check()
            if failed:
                width = len(self.moment)
                raise ModelError(
                    f"the second moment of layer {self.layer} is not positive definite: {self.count} tokens are too "
                    f"few for keys of width {width}; raise second_moments.tokens to at least {10 * width}"
                )
            self._factors[ridge] = factor
        return torch.cholesky_solve(keys.double(), self._factors[ridge])
