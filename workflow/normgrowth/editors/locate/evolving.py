"""A null space that shrinks with every edit (EvoEdit, arXiv 2510.13851).

AlphaEdit's projector P_0 [d, d] holds what text leaves almost unused. With keys K [d, b] of a batch and an orthonormal
basis Q of P K, the next batch works with P - Q Qᵀ: again a projector, and (P - Q Qᵀ) K = 0, so that no later edit
changes what the layer answers to these keys. What is remembered is an orthonormal basis U of all that was taken away,
P = P_0 - U Uᵀ.
"""

from dataclasses import dataclass

import torch

from normgrowth.editors.base import Change, Memory, Resources
from normgrowth.editors.locate.closed_forms import least_change, within_null_space
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.solving import UnsolvableError
from normgrowth.editors.moments import NullSpace
from normgrowth.lm.model import LanguageModel


@dataclass(frozen=True)
class FreeSpace:
    """The projector P [d, d] onto directions of a null space that no earlier edit has used."""

    null_space: NullSpace
    used: torch.Tensor  # U [d, m], orthonormal, within the null space, float64

    @property
    def rank(self) -> int:
        """Directions that are left."""
        return self.null_space.rank - self.used.shape[1]

    def project(self, keys: torch.Tensor) -> torch.Tensor:
        """P K for keys [d, b], in float64."""
        inside = self.null_space.project(keys)
        if not self.used.shape[1]:
            return inside
        for _ in range(2):  # once leaves rounding of the keys' size, which a small remainder would be full of
            inside = inside - self.used @ (self.used.T @ inside)
        return inside

    def directions(self, keys: torch.Tensor, share: float) -> torch.Tensor:
        """An orthonormal basis [d, r] of P K, for keys [d, b], without what is less than a share of their lengths."""
        inside = self.project(keys) / keys.norm(dim=0)
        basis, spread, _ = torch.linalg.svd(inside, full_matrices=False)
        return basis[:, spread > share]


@dataclass(frozen=True)
class FreeSpaceCost:
    """B = ridge * I on the free space, and no change at all outside it."""

    space: FreeSpace
    ridge: float

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """B⁻¹ K [d, b]; past keys are not asked for, since the free space has none of them."""
        return self.space.project(keys) / self.ridge


def used_directions(layer: int) -> str:
    """The name in a run's memory of the directions [d, m] that a layer's edits have used up."""
    return f"used_directions.{layer}"


class EvolvingWriter:
    """A writer for which the directions of each batch's keys are closed afterwards."""

    def __init__(self, norm_weight: float | None, used_share: float) -> None:
        """Updates with ridge L2 = `norm_weight`, which fits the model where it is None.

        Args:
            used_share: directions with less than this share of a key's length count as closed already.
        """
        self.preserve = within_null_space(norm_weight)
        self.used_share = used_share

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind the null space of each layer."""
        self.preserved = {layer: self.preserve(resources, layer) for layer in layers}

    def begin(self) -> Memory:
        """Nothing: no direction is used up yet."""
        return {}

    def change(self, located: Located, memory: Memory) -> Change:
        """Δ = R (Kᵀ P K + L2 I)⁻¹ Kᵀ P.

        Raises:
            UnsolvableError: when the free space has fewer directions than the batch has facts.
        """
        cost, name = self.preserved[located.layer], used_directions(located.layer)
        keys = located.keys.double()  # [d, b]
        used = memory.get(name, keys.new_zeros(len(keys), 0))
        space = FreeSpace(cost.null_space, used)
        _require_free(space, keys.shape[1])
        change = least_change(located.keys, located.residual, FreeSpaceCost(space, cost.ridge), slack=1.0)
        memory[name] = torch.cat([used, space.directions(keys, self.used_share)], dim=1)
        return change


def _require_free(space: FreeSpace, facts: int) -> None:
    if space.rank < facts:
        raise UnsolvableError(
            f"takes a free direction for each of {facts} facts, and of the {space.null_space.rank} in the null space "
            f"earlier edits have left {space.rank}: raise null_space_threshold, or make fewer edits"
        )
