"""Gathering second moments of the keys, the inputs of MLP down-projections, over running text."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from normgrowth.capture import reading
from normgrowth.editors.second_moment import SecondMoment
from normgrowth.language_model import LanguageModel


@dataclass
class Sums:
    """Sums of k kᵀ [d, d] in float64 by layer, over `count` tokens in `batches` batches."""

    by_layer: dict[int, torch.Tensor] = field(default_factory=dict)
    count: int = 0
    batches: int = 0

    def moments(self) -> dict[int, SecondMoment]:
        """The second moments that they are the sums of."""
        return {layer: SecondMoment(total / self.count, self.count, layer) for layer, total in self.by_layer.items()}


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
            flat = keys.flatten(0, 1).double()
            if layer in sums.by_layer:
                sums.by_layer[layer].addmm_(flat.T, flat)
            else:
                sums.by_layer[layer] = flat.T @ flat
        sums.count += ids.numel()
        sums.batches += 1
        keep(sums)
    return sums.moments()
