"""Gathering second moments of the keys, the inputs of MLP down-projections, over running text."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from normgrowth.editors.moments.second_moment import SecondMoment
from normgrowth.lm.hooks import reading
from normgrowth.lm.model import LanguageModel

BLOCKS = 8
"""Into so many blocks of rows a sum is cut; more spare more of its lower half, but make thinner products."""


@dataclass
class Sums:
    """Sums of k kᵀ [d, d] in float64 by layer, over `count` tokens in `batches` batches.

    They are symmetric: what lies under the diagonal is not kept up to date.
    """

    by_layer: dict[int, torch.Tensor] = field(default_factory=dict)
    count: int = 0
    batches: int = 0

    def moments(self) -> dict[int, SecondMoment]:
        """The second moments that they are the sums of."""
        found = {}
        for layer, total in self.by_layer.items():
            whole = total.triu().div_(self.count)
            found[layer] = SecondMoment(whole.add_(whole.triu(1).T), self.count, layer)
        return found

    def add(self, layer: int, keys: torch.Tensor) -> None:
        """Add k kᵀ of every key of a batch [rows, tokens, d] to a layer's sum."""
        flat = keys.flatten(0, 1).double()
        width = flat.shape[1]
        if layer not in self.by_layer:
            self.by_layer[layer] = flat.new_zeros(width, width)
        total = self.by_layer[layer]
        height = -(-width // BLOCKS)
        for start in range(0, width, height):
            rows = slice(start, start + height)
            total[rows, start:].addmm_(flat[:, rows].T, flat[:, start:])


@torch.no_grad()
def gather_second_moments(
    lm: LanguageModel,
    windows: Iterable[torch.Tensor],
    layers: Iterable[int],
    sums: Sums | None = None,
    keep: Callable[[Sums], None] = lambda sums: None,
) -> dict[int, SecondMoment]:
    """Second moments at all `layers` in one pass that stops at the topmost.

    Args:
        windows: batches of token ids [rows, tokens], full, without padding.
        sums: of earlier batches, to go on from; the result is the same as in one go, bit for bit.
        keep: is told the sums after every batch.
    """
    places = [(layer, "mlp_key") for layer in layers]
    sums = sums or Sums()
    for ids in windows:
        ids = ids.to(lm.device)
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, torch.ones_like(ids))
        for (layer, _), keys in seen.items():
            sums.add(layer, keys)
        sums.count += ids.numel()
        sums.batches += 1
        keep(sums)
    return sums.moments()
