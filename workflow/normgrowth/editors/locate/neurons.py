"""Facts written to the neurons that their keys use most, in several passes (NSE, arXiv 2410.04045).

Values are searched on the unedited matrices, put back for the search. A pass writes the facts whose residual ||z - h||
lies between two bounds, layer by layer; the next pass takes up those that still have such a residual. At each layer
only columns I of W change, the neurons with the largest sum of |k| over the facts of the pass:

    Δ_I = R K_Iᵀ (λ C_II + K_p,I K_p,Iᵀ + K_I K_Iᵀ)⁻¹
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from normgrowth.editors.base import Change, Memory, Resources, Trace
from normgrowth.editors.locate.anchor import BARE_PROMPT
from normgrowth.editors.locate.closed_forms import SecondMomentCost, least_change
from normgrowth.editors.locate.keys import at_subject, mean_over_contexts
from normgrowth.editors.locate.method import AnyChange, Located, LocateThenEdit, Method, Written, records
from normgrowth.editors.settings import SearchSettings
from normgrowth.facts.records import Fact
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel

RELATIVE_FLOOR, RELATIVE_CEILING = 0.5, 5.0
"""Default bounds of a residual that is written, in units of the fact's offset. Published ones are absolute: 35 to 150
(GPT2-XL), 15 to 100 (GPT-J), 2.5 to 50 (Llama 3)."""

OUTSIDE = "residual outside of the bounds within which it is written"


def leading_neurons(keys: torch.Tensor, share: float) -> torch.Tensor:
    """Numbers of the neurons, ascending, that the keys [d, b] use most.

    Those with the largest sums of |k| over the keys, as many as together hold at most `share` of the total; at least
    one, and with share 1 all of them.
    """
    scores = keys.abs().sum(dim=1).double()
    if share == 1:
        return torch.arange(len(scores), device=keys.device)
    order = scores.argsort(descending=True, stable=True)
    within = int((scores[order].cumsum(0) <= share * scores.sum()).sum())
    return order[: max(within, 1)].sort().values


class NeuronWriter:
    """A writer of least squares for the leading neurons of a batch; it remembers nothing."""

    def __init__(self, preserve: Callable[[Resources, int], SecondMomentCost], share: float) -> None:
        self.preserve, self.share = preserve, share

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind what is preserved at each layer."""
        self.preserved = {layer: self.preserve(resources, layer) for layer in layers}

    def begin(self) -> Memory:
        """Nothing."""
        return {}

    def change(self, located: Located, memory: Memory) -> Change:
        """Δ, with columns of zeros for all other neurons."""
        keys, past, cost = located.keys, located.past_keys, self.preserved[located.layer]
        chosen = leading_neurons(keys, self.share)
        if len(chosen) == len(keys):
            return least_change(keys, located.residual, cost, 1.0, past)
        moment = replace(cost.moment, moment=cost.moment.moment[chosen][:, chosen], _factors={})
        part = least_change(
            keys[chosen],
            located.residual,
            replace(cost, moment=moment),
            1.0,
            None if past is None else past[chosen],
        )
        right = torch.zeros_like(keys)
        right[chosen] = part.right
        return Change(part.left, right)


@dataclass(frozen=True)
class Bounds:
    """Least and largest residual that is written; in proportion to a fact's offset where they are None."""

    floor: float | None
    ceiling: float | None

    def within(self, residuals: torch.Tensor, offsets: torch.Tensor) -> list[int]:
        """Numbers of the facts with residuals [n] within the bounds, for offsets [n], all of them norms."""
        floor = RELATIVE_FLOOR * offsets if self.floor is None else torch.full_like(offsets, self.floor)
        ceiling = RELATIVE_CEILING * offsets if self.ceiling is None else torch.full_like(offsets, self.ceiling)
        return ((residuals > floor) & (residuals < ceiling)).nonzero().flatten().tolist()


class NeuronLevel(LocateThenEdit):
    """An editor that searches values on the unedited matrices and writes them in passes."""

    def __init__(self, settings: SearchSettings, method: Method, passes: int, bounds: Bounds) -> None:
        super().__init__(settings, method)
        self.passes, self.bounds = passes, bounds

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind what the method needs, and the unedited matrices."""
        super().prepare(lm, resources)
        self.unedited = KeptWeights.of(lm, self.layers)

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write a batch of facts; see `Editor.edit`."""
        edited = KeptWeights.of(lm, self.layers)
        with self.unedited.in_place():
            targets = self.search(lm, memory, facts)
        offsets = targets.offsets.norm(dim=1)
        residuals, key_norms = self._residuals(lm, facts, targets.values), self._key_norms(lm, facts)
        passes: list[Written] = []
        chosen = self.bounds.within(residuals, offsets)
        skipped = [None if fact in chosen else OUTSIDE for fact in range(len(facts))]
        for _ in range(self.passes):
            if not chosen:
                break
            passes.append(self._write_layers(lm, memory, [facts[i] for i in chosen], targets.values[chosen]))
            chosen = self.bounds.within(self._residuals(lm, facts, targets.values), offsets)
        changes = self._in_one(lm, edited, [written.changes for written in passes])
        if self.method.remember == "after_edit":
            self._remember_keys(lm, memory, facts)
        written = Written({}, key_norms, residuals.tolist())
        return Trace(records(facts, targets, targets.values, written, skipped), changes)

    def _residuals(self, lm: LanguageModel, facts: list[Fact], wanted: torch.Tensor) -> torch.Tensor:
        """Norms [n] of what is left of the targets [n, o] under the current weights."""
        return (wanted - at_subject(lm, facts, BARE_PROMPT, [self.top])[self.top][:, 0]).norm(dim=1)

    def _key_norms(self, lm: LanguageModel, facts: list[Fact]) -> list[float]:
        place = (self.layers[0], "mlp_key")
        keys = at_subject(lm, facts, self.templates, [place])[place]
        return mean_over_contexts(keys, self.method.contexts == "grouped").norm(dim=1).tolist()

    def _in_one(
        self, lm: LanguageModel, before: KeptWeights, passes: list[dict[int, AnyChange]]
    ) -> dict[int, Change] | None:
        """One change per layer in place of one for each pass, made anew so that replaying it gives the same bits.

        None, and weights as the passes left them, where a change has no factors.
        """
        joint = {}
        for layer in self.layers:
            made = [changes[layer] for changes in passes]
            known = [change for change in made if isinstance(change, Change) and change.scale == 1.0]
            if len(known) < len(made):
                return None
            o, d = lm.anatomy.down_projections[layer].matrix.shape
            joint[layer] = Change(
                torch.cat([torch.zeros(o, 0, device=lm.device), *(change.left for change in known)], dim=1),
                torch.cat([torch.zeros(d, 0, device=lm.device), *(change.right for change in known)], dim=1),
            )
        before.put_back()
        for layer, change in joint.items():
            change.apply(lm.anatomy.down_projections[layer])
        return joint
