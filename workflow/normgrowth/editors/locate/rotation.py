"""Multiplicative orthogonal edits: W [o, d] becomes R W with R orthogonal [o, o], so that no singular value changes.

MOSE (arXiv 2601.07873) asks for the rotation that sends a batch's keys K [d, b] near their values V [o, b] while the
outputs of running text, whose second moment of keys is C [d, d], stay near what they were:

    λ E ||R W k - W k||² + ||R W K - V||²

An orthogonal Procrustes problem: with the singular value decomposition U S Zᵀ of M = λ W C Wᵀ + V (W K)ᵀ, the least
is at R = U Zᵀ. A rotation keeps lengths, so a value is met exactly only where its length is that of its output W k.
"""

from typing import Literal

import torch

from normgrowth.editors.base import DenseChange, Memory, Resources
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.solving import UnsolvableError, require_finite
from normgrowth.lm.model import LanguageModel

Values = Literal["searched", "length_matched"]
"""Values that keys are sent to: as the search found them, or scaled to the length of the keys' current outputs."""


def nearest_rotation(product: torch.Tensor) -> torch.Tensor:
    """The orthogonal R [o, o] that makes tr(Rᵀ M) largest, for M [o, o] in float64.

    Raises:
        UnsolvableError: when M is not finite, or has not full rank, so that more than one R does.
    """
    require_finite(product)
    left, spread, right = torch.linalg.svd(product)
    rank = int((spread > len(spread) * torch.finfo(product.dtype).eps * spread[0]).sum())
    if rank < len(spread):
        raise UnsolvableError(
            f"has no single best rotation: the layer's outputs for text and for these facts span {rank} of "
            f"{len(spread)} dimensions; gather second moments over more tokens (second_moments.tokens), or choose "
            "another layer"
        )
    return left @ right


def rotation(
    matrix: torch.Tensor, moment: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, weight: float
) -> torch.Tensor:
    """The rotation R [o, o] of MOSE in float64, for W [o, d], C [d, d], K [d, b] and V [o, b] in float64.

    Args:
        weight: λ, of text against the facts.

    Raises:
        UnsolvableError: as `nearest_rotation` does.
    """
    outputs = matrix @ keys  # W K, [o, b]
    return nearest_rotation(weight * (matrix @ moment @ matrix.T) + values @ outputs.T)


class RotationWriter:
    """A writer that rotates a layer's outputs; it remembers nothing."""

    def __init__(self, weight: float | None, relative_weight: float, values: Values) -> None:
        """Rotations with a given weight λ.

        Args:
            weight: λ; where it is None, `relative_weight` times the outputs' width o.
            values: those that keys are sent to.
        """
        self.weight, self.relative_weight, self.values = weight, relative_weight, values

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind the second moments of the keys."""
        self.moments = {layer: resources.second_moments[layer] for layer in layers}
        for moment in self.moments.values():
            moment.check()

    def begin(self) -> Memory:
        """Nothing."""
        return {}

    def change(self, located: Located, memory: Memory) -> DenseChange:
        """The change R W - W, in float32: singular values stay up to its rounding."""
        keys = located.keys.double()
        matrix = located.matrix.to(keys.device).double()
        weight = self.weight or self.relative_weight * len(matrix)
        outputs = matrix @ keys
        values = outputs + located.residual.double()
        if self.values == "length_matched":
            values = values * (outputs.norm(dim=0) / values.norm(dim=0))
        turn = rotation(matrix, self.moments[located.layer].cost, keys, values, weight)
        return DenseChange((turn @ matrix - matrix).float())
