"""The closed forms: what to add to W [o, d] so that it sends keys to wanted values.

K [d, b] are a batch's keys, R [o, b] the residuals (wanted minus current value), B [d, d] what a change costs (see
`preservation`). Each returns the change as factors, solved in float64 by Cholesky and handed on in float32.
"""

import torch

from normgrowth.editors.base import Change
from normgrowth.editors.locate.preservation import Preservation
from normgrowth.editors.locate.solving import ROUNDING, UnsolvableError, independent, solve_positive

TOO_LARGE_FOR_SLACK = (
    "raise the weight of what is preserved (preservation_weight or norm_weight), or edit fewer facts at a time"
)
DEPENDENT = "its keys nearly depend on each other: set slack above 0, or edit fewer facts at a time"


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
      Of keys that depend on each other those are left out that the others imply.

    Raises:
        UnsolvableError: when slack 0 asks for what contradicts itself or divides by rounding, or when the system is
            not positive definite in float64.
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


def mismatched(
    mean_key: torch.Tensor, bare_key: torch.Tensor, residual: torch.Tensor, preserved: Preservation
) -> Change:
    """ROME as it was published (arXiv 2202.05262, eq. 2): the direction is that of the mean key, the length that
    which sends the bare prompt's key to its value.

    Δ = r uᵀ / (k_pᵀ u) with u = C⁻¹ k̄, for k̄ and k_p [d, 1] and r [o, 1]. Where k_pᵀ u is small, the update explodes
    (arXiv 2403.07175).

    Raises:
        UnsolvableError: when k_pᵀ u is no larger than rounding.
    """
    u = preserved.solve(mean_key, None)
    bare_key = bare_key.double()
    product = bare_key.T @ u
    _refuse_noise(product.flatten(), bare_key, u, 1)
    return Change(residual.float(), (u / product).float())
