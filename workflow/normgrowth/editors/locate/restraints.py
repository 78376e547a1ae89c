"""Restraints Q of a step Δ [o, d], RECT's and PRUNE's, and the least squares whose steps they restrain.

Naive: every step is MEMIT's, and Q(Δ) is added. What Q cut off is lost. Aligned (OTE-SE, arXiv 2605.26670): what was
cut off is carried over into later steps, in terms of the normal matrix C_t of all batches so far,

    C_t = λ C + λ_n I + Σ_{s≤t} K_s K_sᵀ,    Δ_t = (R_t K_tᵀ - E_{t-1}) C_t⁻¹,    E_t = (Q(Δ_t) - Δ_t) C_t,    E_0 = 0.

Then (W_t - W_0) C_t - E_t is Σ_{s≤t} (V_s - W_0 K_s) K_sᵀ at every t, with V_s = W_{s-1} K_s + R_s: wherever a step is
made in full, W_t is the least-squares solution over all batches, whatever Q did before.
"""

from collections.abc import Callable
from typing import Literal

import torch

from normgrowth.editors.base import DenseChange, Memory, Resources
from normgrowth.editors.locate.closed_forms import SecondMomentCost
from normgrowth.editors.locate.method import Located
from normgrowth.lm.model import LanguageModel

Restraint = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Q: the step to make [o, d] in place of a step Δ [o, d], which is held against a matrix W [o, d]; in float64."""

FLOOR = 1e-8
"""Added to |W| before RECT divides by it, as in the published code."""


def largest_relative_changes(keep: float) -> Restraint:
    """RECT (arXiv 2401.04700): the share `keep` of entries with the largest |Δ| / |W|; the others do not change."""

    def restraint(step: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        ratios = step.abs() / (matrix.abs() + FLOOR)
        kept = ratios.flatten().topk(max(1, round(keep * step.numel()))).indices
        mask = torch.zeros_like(step).flatten().index_fill_(0, kept, 1.0)
        return step * mask.view_as(step)

    return restraint


def compressed_singular_values(step: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """PRUNE (arXiv 2405.16821): singular values σ of Δ above W's largest, σ_max, become log σ - log σ_max + σ_max.

    Where σ_max is below 1, the published formula enlarges values just above it; here they stay as they are.
    """
    if not torch.isfinite(step).all():
        return step  # refused when it is to be written
    # σ_max(Δ) is at most ||Δ||, and σ_max(W) at least ||W|| / sqrt(rank): small steps need no decomposition.
    if step.norm() <= matrix.norm() / min(matrix.shape) ** 0.5:
        return step
    largest = torch.linalg.matrix_norm(matrix, 2)
    left, values, right = torch.linalg.svd(step, full_matrices=False)
    above = values > largest
    lowered = torch.minimum(values[above], values[above].log() - largest.log() + largest)
    return step - (left[:, above] * (values[above] - lowered)) @ right[above]


class RestrainedLeastSquares:
    """The writer of RECT and PRUNE, naive or aligned; see above.

    Aligned, it remembers E [o, d] of each layer, in float64: E is multiplied by C_t⁻¹, and C is ill-conditioned. The
    past keys in C_t are those that the method remembers.

    Args:
        preserve: λ C + λ_n I of a layer.
        restraint: Q.
        against: the matrix that Q holds a step against, the layer's current or its unedited one.
        aligned: carry over what Q cut off.
    """

    def __init__(
        self,
        preserve: Callable[[Resources, int], SecondMomentCost],
        restraint: Restraint,
        against: Literal["current", "unedited"],
        aligned: bool,
    ) -> None:
        self.preserve = preserve
        self.restraint = restraint
        self.against = against
        self.aligned = aligned

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind what is preserved at each layer, and the unedited matrices where steps are held against them."""
        self.preserved = {layer: self.preserve(resources, layer) for layer in layers}
        self.unedited: dict[int, torch.Tensor] = {}
        if self.against == "unedited":
            self.unedited = {layer: lm.anatomy.down_projections[layer].matrix.clone() for layer in layers}

    def begin(self) -> Memory:
        """Nothing: no step has been cut."""
        return {}

    def change(self, located: Located, memory: Memory) -> DenseChange:
        """Q(Δ_t); notes E_t in the memory where steps are aligned."""
        preserved, remainder = self.preserved[located.layer], f"remainder.{located.layer}"
        keys = located.keys.double()
        seen = keys if located.past_keys is None else torch.cat([located.past_keys.double(), keys], dim=1)  # [d, m + b]
        wanted = located.residual.double() @ keys.T  # R Kᵀ, [o, d]
        if remainder in memory:
            wanted = wanted - memory[remainder]
        step = preserved.solve(wanted.T, seen).T
        made = self.restraint(step, self.unedited.get(located.layer, located.matrix).to(step)).float()
        if self.aligned:
            memory[remainder] = preserved.times(made.double() - step, seen)
        return DenseChange(made)
