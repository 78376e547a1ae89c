"""The closed forms of locate-then-edit methods: what to add to W [o, d] so that it sends keys to wanted values.

K [d, b] are a batch's keys, R [o, b] the residuals (wanted minus current value), and a change Δ of W costs tr(Δ B Δᵀ)
with B [d, d]: a `Preservation` knows B and gives B⁻¹ K. Keys K_p [d, m] of earlier edits may be protected too: then B
grows by K_p K_pᵀ. Changes come as factors, solved in float64 by Cholesky and handed on in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from normgrowth.editors.base import Change, Resources
from normgrowth.editors.locate.solving import ROUNDING, UnsolvableError, independent, solve_positive
from normgrowth.editors.moments import NullSpace, SecondMoment
from normgrowth.editors.settings import LeastSquaresSettings

MORE_PRESERVED = (
    "raise the weight of what is preserved (preservation_weight, norm_weight or ridge_to_unedited), or set remember to "
    "nothing where the editor allows it"
)
TOO_LARGE_FOR_SLACK = (
    "raise the weight of what is preserved (preservation_weight or norm_weight), or edit fewer facts at a time"
)
DEPENDENT = "its keys nearly depend on each other: set slack above 0, or edit fewer facts at a time"

RELATIVE_NORM_WEIGHT = 0.01
"""Default lambda_n, in units of the mean eigenvalue of lambda * C."""

RELATIVE_NULL_SPACE_WEIGHT = 0.01
"""Default L2, in units of tr(C), the mean squared norm of a key."""


class Preservation(Protocol):
    """Cost tr(Δ B Δᵀ) of changes Δ."""

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """B⁻¹ K [d, b] in float64, for keys [d, b] and past keys [d, m].

        Raises:
            UnsolvableError: when B is not positive definite in float64.
        """


@dataclass(frozen=True)
class SecondMomentCost:
    """B = weight * C + ridge * I: protects outputs for keys of running text, and the size of the update itself."""

    moment: SecondMoment
    weight: float = 1.0
    ridge: float = 0.0

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        if past is not None and past.shape[1] >= len(past):
            return self._solve_directly(keys, past)
        protected = self.moment.solve(keys, self.ridge / self.weight) / self.weight  # [d, b]
        if past is None or past.shape[1] == 0:
            return protected
        past = past.double()
        protected_past = self.moment.solve(past, self.ridge / self.weight) / self.weight  # [d, m]
        return _woodbury(protected, protected_past, past, keys)

    def times(self, steps: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        """Δ (B + K_p K_pᵀ) [o, d] in float64, for steps Δ [o, d] and past keys K_p [d, m], all in float64."""
        return self.weight * (steps @ self.moment.cost) + self.ridge * steps + (steps @ past) @ past.T

    def _solve_directly(self, keys: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        # With more past keys than dimensions, Woodbury's system [m, m] is the larger one.
        past = past.double()
        matrix = torch.addmm(self.weight * self.moment.cost, past, past.T)  # [d, d]
        matrix.diagonal().add_(self.ridge)
        return solve_positive(matrix, keys.double(), MORE_PRESERVED)


@dataclass(frozen=True)
class NullSpaceCost:
    """B = ridge * I on the null space, and no change at all outside it: B⁻¹ = P (ridge I)⁻¹ P without past keys.

    AlphaEdit (arXiv 2410.02355, eq. 14) in its symmetric form: with P a projection,
    (P (K Kᵀ + K_p K_pᵀ) + ridge I)⁻¹ P K only holds the projected keys P K and P K_p.
    """

    null_space: NullSpace
    ridge: float

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        projected = self.null_space.project(keys)  # [d, b]
        if past is None or past.shape[1] == 0:
            return projected / self.ridge
        past = self.null_space.project(past)  # [d, m]
        if past.shape[1] >= len(past):
            matrix = past @ past.T  # [d, d]
            matrix.diagonal().add_(self.ridge)
            return solve_positive(matrix, projected, MORE_PRESERVED)
        return _woodbury(projected / self.ridge, past / self.ridge, past, projected)


@dataclass(frozen=True)
class UniformCost:
    """B = I: every direction of the key space costs the same. Earlier keys are not protected."""

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        return keys.double()


def _woodbury(
    protected: torch.Tensor, protected_past: torch.Tensor, past: torch.Tensor, keys: torch.Tensor
) -> torch.Tensor:
    """(A + K_p K_pᵀ)⁻¹ K [d, b] by Woodbury's formula: A⁻¹K - A⁻¹K_p (I + K_pᵀA⁻¹K_p)⁻¹ K_pᵀA⁻¹K.

    Args:
        protected: A⁻¹ K [d, b].
        protected_past: A⁻¹ K_p [d, m].
        past: K_p [d, m].
        keys: K [d, b].
    """
    small = past.T @ protected_past  # [m, m]
    small.diagonal().add_(1.0)
    return protected - protected_past @ solve_positive(small, protected_past.T @ keys.double(), MORE_PRESERVED)


def of_one_key(use_second_moment: bool) -> Callable[[Resources, int], Preservation]:
    """Preservation for the update of a single key, which does not depend on the scale of C.

    Args:
        use_second_moment: protect C; otherwise all directions cost alike.
    """

    def preserve(resources: Resources, layer: int) -> Preservation:
        return SecondMomentCost(resources.second_moments[layer]) if use_second_moment else UniformCost()

    return preserve


def weighted_second_moment(settings: LeastSquaresSettings) -> Callable[[Resources, int], SecondMomentCost]:
    """Preservation with B = lambda * C + lambda_n * I of a layer, by an editor's settings."""
    return second_moment_and_ridge(settings.preservation_weight, settings.norm_weight)


def second_moment_and_ridge(
    weight: float | None, ridge: float | None = 0.0
) -> Callable[[Resources, int], SecondMomentCost]:
    """Preservation with B = weight * C + ridge * I of a layer; a weight or ridge that is None fits the model.

    The weight counts tokens of text: for a typical key, kᵀ C⁻¹ k is about the width d whatever the scale of C, so
    weight = d weighs text and one new fact equally. Published values are 0.9 d to 3.1 d.
    """

    def preserve(resources: Resources, layer: int) -> SecondMomentCost:
        moment = resources.second_moments[layer]
        of_text = weight or float(len(moment.moment))
        of_norm = RELATIVE_NORM_WEIGHT * of_text * moment.mean_square if ridge is None else ridge
        return SecondMomentCost(moment, of_text, of_norm)

    return preserve


def within_null_space(norm_weight: float | None) -> Callable[[Resources, int], NullSpaceCost]:
    """Preservation of everything outside a layer's null space; the ridge fits the model where none is given."""

    def preserve(resources: Resources, layer: int) -> NullSpaceCost:
        space = resources.null_spaces[layer]
        ridge = norm_weight
        if ridge is None:
            ridge = RELATIVE_NULL_SPACE_WEIGHT * space.mean_square * len(space.basis)
        return NullSpaceCost(space, ridge)

    return preserve


def least_change(
    keys: torch.Tensor,
    residual: torch.Tensor,
    preserved: Preservation,
    slack: float,
    past: torch.Tensor | None = None,
) -> Change:
    """Δ = R (Kᵀ B⁻¹ K + slack I)⁻¹ Kᵀ B⁻¹: the cheapest change that sends the keys to their values, more or less.

    One formula holds every closed form of the locate-then-edit family:

    * slack 1 minimises tr(Δ B Δᵀ) + ||Δ K - R||², that is Δ = R Kᵀ (B + K Kᵀ)⁻¹: MEMIT (arXiv 2210.07229, eq. 14) with
      B = λ C, ENCORE (arXiv 2502.01636) with λ_n I and earlier keys added to it, AlphaEdit (arXiv 2410.02355) in
      the null space;
    * slack 0 minimises tr(Δ B Δᵀ) subject to Δ K = R: R-ROME (arXiv 2403.07175) with one key, where the scale of B
      does not matter; EMMET (arXiv 2403.14236, eq. 13) with several, whose published code adds a slack of 0.1.
      Of linearly dependent keys, those that the others imply are left out.

    Args:
        keys: K [d, b].
        residual: R [o, b].
        preserved: the cost B [d, d].
        slack: weight of the identity; see above.
        past: keys [d, m] of earlier edits that are protected too.

    Raises:
        UnsolvableError: when, with slack 0, keys or residuals contradict each other or the update divides by rounding;
            or when the system is not positive definite in float64.
    """
    keys, mixed = keys.double(), None
    if slack == 0:
        keys, mixed = independent(keys, residual)
    protected = preserved.solve(keys, past)  # B⁻¹ K, [d, b]
    gram = keys.T @ protected  # Kᵀ B⁻¹ K, [b, b]
    if slack == 0:
        _refuse_noise(gram.diagonal(), keys, protected, residual.shape[1])
    gram.diagonal().add_(slack)
    right = solve_positive(gram, protected.T, TOO_LARGE_FOR_SLACK if slack else DEPENDENT).T
    if mixed is not None:
        right = right @ mixed.T
    return Change(residual.float(), right.float())


def _refuse_noise(products: torch.Tensor, keys: torch.Tensor, protected: torch.Tensor, facts: int) -> None:
    """Check the products k_iᵀ u_i [b] that an exact update divides by, for keys and u [d, b].

    Raises:
        UnsolvableError: when one is no larger than the rounding of its key.
    """
    noise = products.abs() <= ROUNDING * keys.norm(dim=0) * protected.norm(dim=0)
    if noise.any():
        raise UnsolvableError(
            f"would divide by {products[noise.nonzero()[0]].item():.3g}, which is rounding: its key is zero, or "
            "stands at a right angle to the direction of the update; leave the fact out, choose another layer, or an "
            "editor that does not divide by it (memit, alphaedit)",
            noise.nonzero().flatten().tolist() if len(noise) == facts else None,
        )


def rome_update(
    mean_key: torch.Tensor, bare_key: torch.Tensor, residual: torch.Tensor, preserved: Preservation
) -> Change:
    """ROME as published (arXiv 2202.05262, eq. 2): direction from the mean key, length from the bare prompt's key, that
    is sent to its value.

    Δ = r uᵀ / (k_pᵀ u) with u = C⁻¹ k̄, for k̄ and k_p [d, 1] and r [o, 1]. Where k_pᵀ u is small, the update explodes
    (arXiv 2403.07175).

    Raises:
        UnsolvableError: when k_pᵀ u is no larger than rounding.
    """
    u = preserved.solve(mean_key, None)
    bare_key = bare_key.double()
    product = bare_key.T @ u  # [1, 1]
    _refuse_noise(product.flatten(), bare_key, u, 1)
    return Change(residual.float(), (u / product).float())
