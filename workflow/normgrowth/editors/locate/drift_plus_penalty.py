"""LyapLock's drift-plus-penalty writer (arXiv 2505.15702): new facts, against what text and earlier facts have lost.

The preservation error of a matrix is D(W) = tr((W - W_0) C (W - W_0)ᵀ), the mean squared change of its outputs on text;
biases, which no edit touches, are left out. A virtual queue Z grows by what D exceeds its budget α D_base, where D_base
is D after the run's first batch, or the first that does more to text than rounding:

    Δ = [R Kᵀ + aZ λ (W_0 - W) C + (V_p - W K_p) K_pᵀ] (K Kᵀ + aZ λ C + K_p K_pᵀ)⁻¹,
    Z ← max(Z + a (D(W + Δ) - α D_base), sqrt(α D_base)),    a = 1 / sqrt(α D_base),

with K_p [d, m] the keys of earlier edits and V_p [o, m] what W K_p was just after them. The first batch has aZ = 1, and
is a step of MEMIT. Z only ever stands beside a, so the pressure q = aZ is kept in its place, and D_base in that of a:

    q ← max(q + D(W + Δ) / (α D_base) - 1, 1).
"""

from collections.abc import Callable

import torch

from normgrowth.editors.base import DenseChange, Memory, Resources
from normgrowth.editors.locate.closed_forms import SecondMomentCost
from normgrowth.editors.locate.method import Located
from normgrowth.lm.model import LanguageModel

ROUNDING = 1e-10
"""Share of the outputs' mean square on text up to which an error is no more than rounding."""


def pressure(layer: int) -> str:
    """The name in a run's memory of q, a scalar in float64."""
    return f"pressure.{layer}"


def first_error(layer: int) -> str:
    """The name in a run's memory of D_base, a scalar in float64."""
    return f"first_error.{layer}"


def past_values(layer: int) -> str:
    """The name in a run's memory of V_p [o, m] in float64."""
    return f"past_values.{layer}"


class DriftPlusPenalty:
    """The writer of LyapLock; see above.

    Args:
        preserve: λ C of a layer.
        alpha: budget of the preservation error, in units of that after the first batch.
    """

    def __init__(self, preserve: Callable[[Resources, int], SecondMomentCost], alpha: float) -> None:
        self.preserve = preserve
        self.alpha = alpha

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind the second moments and the unedited matrices."""
        self.preserved = {layer: self.preserve(resources, layer) for layer in layers}
        self.unedited = {layer: lm.anatomy.down_projections[layer].matrix.clone() for layer in layers}

    def begin(self) -> Memory:
        """Nothing: no batch has been written."""
        return {}

    def change(self, located: Located, memory: Memory) -> DenseChange:
        """Δ; updates queue, first error and past values in the memory.

        Raises:
            UnsolvableError: when the system is not positive definite.
        """
        layer, preserved = located.layer, self.preserved[located.layer]
        keys = located.keys.double()
        matrix, unedited = located.matrix.to(keys), self.unedited[layer].to(keys)
        cost = preserved.moment.cost  # C, [d, d]
        weight = preserved.weight * (memory[pressure(layer)].item() if pressure(layer) in memory else 1.0)  # aZ λ

        wanted = located.residual.double() @ keys.T + weight * (unedited - matrix) @ cost  # [o, d]
        seen = keys
        if located.past_keys is not None:
            past = located.past_keys.double()
            wanted += (memory[past_values(layer)] - matrix @ past) @ past.T
            seen = torch.cat([past, keys], dim=1)
        step = SecondMomentCost(preserved.moment, weight).solve(wanted.T, seen).T.float()

        after = matrix + step.double()
        self._queue(memory, layer, _error(after - unedited, cost), _error(unedited, cost))
        values = after @ keys  # [o, b]
        known = memory.get(past_values(layer))
        memory[past_values(layer)] = values if known is None else torch.cat([known, values], dim=1)
        return DenseChange(step)

    def _queue(self, memory: Memory, layer: int, error: torch.Tensor, outputs: torch.Tensor) -> None:
        """Take the preservation error after a batch into the queue; `outputs` is the mean square output on text."""
        if first_error(layer) not in memory:
            if error <= ROUNDING * outputs:
                return  # The model knew these facts: a budget of their size would let nothing be written later.
            memory[first_error(layer)] = error
            memory[pressure(layer)] = torch.ones_like(error)
        grown = memory[pressure(layer)] + error / (self.alpha * memory[first_error(layer)]) - 1.0
        memory[pressure(layer)] = grown.clamp_min(1.0)


def _error(change: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """tr(Δ C Δᵀ), for Δ [o, d] and C [d, d]: the mean square over text of what Δ does to outputs."""
    return ((change @ moment) * change).sum()
