"""A null space that text still counts in, and that is found anew as edits go on (BetaEdit, arXiv 2605.09285).

With the second moment C [d, d] of text, keys K_p [d, m] of earlier edits and a projector P, a fact's key k [d, 1] and
residual r [o, 1] give

    Δᵀ = (P (k kᵀ + K_p K_pᵀ + λ_1 C) + λ_2 I)⁻¹ P k rᵀ

which is AlphaEdit with λ_1 C added: of the directions that may change, those that text uses more change less. Every so
many edits P becomes the null space of (K_p K_pᵀ / m + λ_1 C) / (λ_1 + 1).
"""

from dataclasses import dataclass

import torch

from normgrowth.editors.base import Change, Memory, Resources
from normgrowth.editors.locate.closed_forms import SecondMomentCost, least_change, within_null_space
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.solving import UnsolvableError
from normgrowth.editors.moments import NullSpace, SecondMoment, null_space
from normgrowth.lm.model import LanguageModel

RELATIVE_MOMENT_WEIGHT = 0.25
"""Default λ_1, in units of the keys' width: the published 3000 is 0.18 to 0.47 of the widths it was used at."""


@dataclass(frozen=True)
class ProjectedCost:
    """B = λ_1 P C P + λ_2 I on the null space, and no change at all outside it.

    With P a projection, (P S + λ_2 I)⁻¹ P K = (P S P + λ_2 I)⁻¹ P K for a symmetric S: what the paper inverts becomes
    positive definite.
    """

    null_space: NullSpace
    inside: SecondMomentCost  # λ_1 P C P + λ_2 I, [d, d]

    def solve(self, keys: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        """See `Preservation.solve`."""
        return self.inside.solve(self.null_space.project(keys), None if past is None else self.null_space.project(past))


def projected_cost(space: NullSpace, moment: SecondMoment, moment_weight: float, ridge: float) -> ProjectedCost:
    """The cost for a projector P, C, λ_1 and λ_2."""
    inside = moment_weight * space.project(space.project(moment.moment).T)
    inside.diagonal().add_(ridge)
    return ProjectedCost(space, SecondMomentCost(SecondMoment(inside, moment.count, moment.layer)))


class RefreshingWriter:
    """A writer whose null space is that of text and, after every `refresh` edits, of the keys of all edits so far too.

    The keys are those that its method remembers, one for each edit. Its null space follows from them, so that nothing
    else is remembered.
    """

    def __init__(
        self,
        moment_weight: float | None,
        norm_weight: float | None,
        threshold: float | None,
        refresh: int,
        largest_change: float | None,
    ) -> None:
        """Updates with λ_1 = `moment_weight` and λ_2 = `norm_weight`, which fit the model where they are None.

        Args:
            threshold: eigenvalues below it belong to the null space; up to the mean one where it is None.
            refresh: edits between two null spaces.
            largest_change: ||Δ|| above which an edit is refused; None refuses none.
        """
        self.moment_weight = moment_weight
        self.preserve = within_null_space(norm_weight)
        self.threshold, self.refresh, self.largest_change = threshold, refresh, largest_change

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind second moments and the null spaces of text."""
        self.moments = {layer: resources.second_moments[layer] for layer in layers}
        self.of_text = {layer: self.preserve(resources, layer) for layer in layers}
        self._costs: dict[int, tuple[int, ProjectedCost]] = {}  # by layer: edits counted in, and the cost

    def begin(self) -> Memory:
        """Nothing."""
        return {}

    def change(self, located: Located, memory: Memory) -> Change:
        """Δ as above, for a single key.

        Raises:
            UnsolvableError: when it is larger than is allowed.
        """
        preserved = self._cost(located.layer, located.past_keys)
        change = least_change(located.keys, located.residual, preserved, 1.0, located.past_keys)
        size = (change.left.double().norm() * change.right.double().norm()).item()  # of a rank-one matrix
        if self.largest_change is not None and size > self.largest_change:
            raise UnsolvableError(
                f"has a norm of {size:.4g}, above the largest_change of {self.largest_change:g}, which ends the run: "
                "raise largest_change or leave it out, or make fewer edits"
            )
        return change

    def _cost(self, layer: int, past: torch.Tensor | None) -> ProjectedCost:
        """The cost at a layer after the edits with these keys [d, m]."""
        edits = 0 if past is None else past.shape[1]
        counted = edits - edits % self.refresh
        if layer not in self._costs or self._costs[layer][0] != counted:
            moment, of_text = self.moments[layer], self.of_text[layer]
            weight = self.moment_weight or RELATIVE_MOMENT_WEIGHT * len(moment.moment)
            space = of_text.null_space
            if past is not None and counted:
                earlier = past[:, :counted].double()
                both = (earlier @ earlier.T / counted + weight * moment.moment) / (weight + 1)
                space = null_space(SecondMoment(both, moment.count, layer), self.threshold)
            self._costs[layer] = counted, projected_cost(space, moment, weight, of_text.ridge)
        return self._costs[layer][1]
