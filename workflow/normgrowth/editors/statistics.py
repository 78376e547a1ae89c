"""Second moments of the keys: what the closed forms protect.

C = E[k kᵀ] over running text, uncentred, for the input k of a layer's MLP down-projection (ROME, arXiv 2202.05262,
appendix E.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from normgrowth.capture import reading
from normgrowth.errors import ModelError
from normgrowth.language_model import LanguageModel


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

    def solve(self, keys: torch.Tensor, ridge: float = 0.0) -> torch.Tensor:
        """(C + ridge I)⁻¹ K for keys [d, b], in float64; each factor is computed once.

        Raises:
            ModelError: when the matrix is not positive definite.
        """
        if ridge not in self._factors:
            matrix = self.moment.clone()
            matrix.diagonal().add_(ridge)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            if failed:
                width = len(self.moment)
                raise ModelError(
                    f"the second moment of layer {self.layer} is not positive definite: {self.count} tokens are too "
                    f"few for keys of width {width}; raise second_moments.tokens to at least {10 * width}"
                )
            self._factors[ridge] = factor
        return torch.cholesky_solve(keys.double(), self._factors[ridge])


@torch.no_grad()
def gather_second_moments(
    lm: LanguageModel, windows: Iterable[torch.Tensor], layers: Iterable[int]
) -> dict[int, SecondMoment]:
    """Second moments at all `layers` in one pass that stops at the topmost.

    Args:
        windows: batches of token ids [rows, tokens], full, without padding.
    """
    places = [(layer, "mlp_key") for layer in layers]
    sums: dict[int, torch.Tensor] = {}
    count = 0
    for ids in windows:
        ids = ids.to(lm.device)
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, torch.ones_like(ids))
        for (layer, _), keys in seen.items():
            flat = keys.flatten(0, 1).double()
            if layer in sums:
                sums[layer].addmm_(flat.T, flat)
            else:
                sums[layer] = flat.T @ flat
        count += ids.numel()
    return {layer: SecondMoment(total / count, count, layer) for layer, total in sums.items()}
