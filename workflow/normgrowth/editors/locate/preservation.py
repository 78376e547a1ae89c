"""What an update must leave alone, as the one operation that closed forms ask of it.

Each says that a change Δ of W costs tr(Δ B Δᵀ), and gives B⁻¹ K for keys K [d, b] in float64. Keys K_p [d, m] of
earlier edits may be protected too: then B grows by K_p K_pᵀ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.solving import solve_positive
from normgrowth.editors.moments.null_space import NullSpace
from normgrowth.editors.moments.second_moment import SecondMoment
from normgrowth.editors.settings import LeastSquaresSettings

MORE_PRESERVED = "raise preservation_weight or norm_weight, or set remember to nothing"


class Preservation(Protocol):
    """A cost of changes."""

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """B⁻¹ K [d, b] in float64, for keys [d, b] and past keys [d, m].

        Raises:
            UnsolvableError: when B is not positive definite in float64.
        """


@dataclass(frozen=True)
class OfSecondMoment:
    """B = weight * C + ridge * I: protects outputs for keys of running text, and the size of the update itself."""

    moment: SecondMoment
    weight: float = 1.0
    ridge: float = 0.0

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        if past is not None and past.shape[1] >= len(past):
            return self._solve_directly(keys, past)
        protected = self.moment.solve(keys, self.ridge / self.weight) / self.weight
        if past is None or past.shape[1] == 0:
            return protected
        past = past.double()
        protected_past = self.moment.solve(past, self.ridge / self.weight) / self.weight
        return _woodbury(protected, protected_past, past, keys)

    def _solve_directly(self, keys: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        # With more past keys than dimensions the small system is the larger one.
        past = past.double()
        matrix = torch.addmm(self.weight * self.moment.cost, past, past.T)
        matrix.diagonal().add_(self.ridge)
        return solve_positive(matrix, keys.double(), MORE_PRESERVED)


@dataclass(frozen=True)
class WithinNullSpace:
    """B = ridge * I on the null space, and no change at all outside it: B⁻¹ = P (ridge I)⁻¹ P without past keys.

    AlphaEdit (arXiv 2410.02355, eq. 14) in its symmetric form: with P a projection,
    (P (K Kᵀ + K_p K_pᵀ) + ridge I)⁻¹ P K only holds the projected keys P K and P K_p.
    """

    null_space: NullSpace
    ridge: float

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        projected = self.null_space.project(keys)
        if past is None or past.shape[1] == 0:
            return projected / self.ridge
        past = self.null_space.project(past)
        if past.shape[1] >= len(past):
            matrix = past @ past.T
            matrix.diagonal().add_(self.ridge)
            return solve_positive(matrix, projected, MORE_PRESERVED)
        return _woodbury(projected / self.ridge, past / self.ridge, past, projected)


@dataclass(frozen=True)
class OfAnyKey:
    """B = I: every direction of the key space costs the same. Earlier keys are not protected."""

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        return keys.double()


def _woodbury(
    protected: torch.Tensor, protected_past: torch.Tensor, past: torch.Tensor, keys: torch.Tensor
) -> torch.Tensor:
    """(A + K_p K_pᵀ)⁻¹ K from A⁻¹ K and A⁻¹ K_p: A⁻¹K - A⁻¹K_p (I + K_pᵀA⁻¹K_p)⁻¹ K_pᵀA⁻¹K."""
    small = past.T @ protected_past
    small.diagonal().add_(1.0)
    return protected - protected_past @ solve_positive(small, protected_past.T @ keys.double(), MORE_PRESERVED)


RELATIVE_NORM_WEIGHT = 0.01
"""lambda_n in units of the mean eigenvalue of lambda * C, where none is given."""

RELATIVE_NULL_SPACE_WEIGHT = 0.01
"""L2 in units of tr(C), the mean squared norm of a key, where none is given."""


def of_one_key(settings) -> Callable[[Resources, int], Preservation]:
    """C of a layer, whose scale does not matter to a single key; all directions alike where settings leave it out."""

    def preserve(resources: Resources, layer: int) -> Preservation:
        return OfSecondMoment(resources.second_moments[layer]) if settings.use_second_moment else OfAnyKey()

    return preserve


def weighed(settings: LeastSquaresSettings) -> Callable[[Resources, int], Preservation]:
    """lambda * C + lambda_n * I of a layer, with weights that fit the model where settings give none.

    lambda counts tokens' worth of text: for a typical key kᵀ C⁻¹ k is about the width d whatever the scale of C, so
    that lambda = d gives text and one new fact equal say. Published values are 0.9 d to 3.1 d.
    """

    def preserve(resources: Resources, layer: int) -> Preservation:
        moment = resources.second_moments[layer]
        weight = settings.preservation_weight or float(len(moment.moment))
        ridge = settings.norm_weight
        if ridge is None:
            ridge = RELATIVE_NORM_WEIGHT * weight * moment.mean_square
        return OfSecondMoment(moment, weight, ridge)

    return preserve


def within_null_space(settings) -> Callable[[Resources, int], Preservation]:
    """The null space of a layer, with a ridge that fits the model where settings give none."""

    def preserve(resources: Resources, layer: int) -> Preservation:
        space = resources.null_spaces[layer]
        ridge = settings.norm_weight
        if ridge is None:
            ridge = RELATIVE_NULL_SPACE_WEIGHT * space.mean_square * len(space.basis)
        return WithinNullSpace(space, ridge)

    return preserve
