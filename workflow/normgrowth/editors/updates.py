"""The closed forms: what to add to W [o, d] so that it sends keys to wanted values.

K [d, b] are a batch's keys, R [o, b] the residuals (wanted minus current value), C [d, d] the second moment of keys to
protect. Each returns the change as factors, solved in float64 by Cholesky and handed on in float32.
"""

import torch

from normgrowth.editors.interface import LowRank
from normgrowth.editors.statistics import SecondMoment


def equality_constrained(keys: torch.Tensor, residual: torch.Tensor, moment: SecondMoment) -> LowRank:
    """Least change of protected outputs that sends each key exactly to its value.

    min tr(Δ C Δᵀ) subject to Δ K = R, hence Δ = R (Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹.

    With one key this is R-ROME (arXiv 2403.07175, eq. 2 with one key throughout); with several, EMMET without
    ridge (arXiv 2403.14236, eq. 13). The scale of C does not matter.
    """
    protected = moment.solve(keys)  # C⁻¹ K, [d, b]
    gram = keys.double().T @ protected  # Kᵀ C⁻¹ K, [b, b]
    left = torch.cholesky_solve(residual.double().T, torch.linalg.cholesky(gram)).T
    return LowRank(left.float(), protected.float())


def regularised(
    keys: torch.Tensor, residual: torch.Tensor, moment: SecondMoment, preservation_weight: float
) -> LowRank:
    """Least squares between new values and protected outputs.

    min λ tr(Δ C Δᵀ) + ||Δ K - R||², hence Δ = R Kᵀ (λ C + K Kᵀ)⁻¹ (MEMIT, arXiv 2210.07229, eq. 14).

    Solved in its b x b form: with S = (λC)⁻¹ K it is Δ = R (I + Kᵀ S)⁻¹ Sᵀ, so C is factored once for all edits.
    """
    protected = moment.solve(keys) / preservation_weight  # S, [d, b]
    gram = keys.double().T @ protected
    gram.diagonal().add_(1.0)
    right = torch.cholesky_solve(protected.T, torch.linalg.cholesky(gram)).T
    return LowRank(residual.float(), right.float())
