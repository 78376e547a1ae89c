"""Gathering second moments of the keys, the inputs of MLP down-projections, over running text."""

from collections.abc import Iterable

import torch

from normgrowth.capture import reading
from normgrowth.editors.second_moment import SecondMoment
from normgrowth.language_model import LanguageModel


@torch.no_grad()
def gather_second_moments(
    lm: LanguageModel, windows: Iterable[torch.Tensor], layers: Iterable[int]
) -> dict[int, SecondMoment]:
    """Second moments at all `layers` in one pass that stops at the topmost.

    Args:
        windows: batches of token ids [rows, tokens], full, without padding.
    """
    places = [(layer, "mlp_key") for layer in layers]
    sums: dict[int, torch.Tensor] = {}
    count = 0
    for ids in windows:
        ids = ids.to(lm.device)
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, torch.ones_like(ids))
        for (layer, _), keys in seen.items():
            flat = keys.flatten(0, 1).double()
            if layer in sums:
                sums[layer].addmm_(flat.T, flat)
            else:
                sums[layer] = flat.T @ flat
        count += ids.numel()
    return {layer: SecondMoment(total / count, count, layer) for layer, total in sums.items()}
