"""The closed forms: what to add to W [o, d] so that it sends keys to wanted values.

K [d, b] are a batch's keys, R [o, b] the residuals (wanted minus current value), B [d, d] what a change costs (see
`preservation`). Each returns the change as factors, solved in float64 by Cholesky and handed on in float32.
"""

import torch

from normgrowth.editors.interface import Change
from normgrowth.editors.preservation import Preservation


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
    """
    protected = preserved.solve(keys, past)  # B⁻¹ K, [d, b]
    gram = keys.double().T @ protected  # Kᵀ B⁻¹ K, [b, b]
    gram.diagonal().add_(slack)
    right = torch.cholesky_solve(protected.T, torch.linalg.cholesky(gram)).T
    return Change(residual.float(), right.float())


def mismatched(
    mean_key: torch.Tensor, bare_key: torch.Tensor, residual: torch.Tensor, preserved: Preservation
) -> Change:
    """ROME as it was published (arXiv 2202.05262, eq. 2): the direction is that of the mean key, the length that
    which sends the bare prompt's key to its value.

    Δ = r uᵀ / (k_pᵀ u) with u = C⁻¹ k̄, for k̄ and k_p [d, 1] and r [o, 1]. Where k_pᵀ u is small, the update explodes
    (arXiv 2403.07175).
    """
    u = preserved.solve(mean_key, None)
    return Change(residual.float(), (u / (bare_key.double().T @ u)).float())
