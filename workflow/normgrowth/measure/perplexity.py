"""Perplexity on held-out running text: a cheap monitor of general ability."""

import math

import torch
from torch.nn.functional import cross_entropy

from normgrowth.language_model import LanguageModel

ROWS_PER_PASS = 16


@torch.no_grad()
def perplexity(lm: LanguageModel, windows: torch.Tensor) -> tuple[float, int]:
    """exp of the mean loss of every next token within windows [count, length], and the number of tokens predicted.

    Infinite where the loss overflows, NaN where the model gives no number: both say that it has collapsed.
    """
    total, count = 0.0, 0
    for ids in windows.split(ROWS_PER_PASS):
        ids = ids.to(lm.device)
        logits = lm.logits(lm.hidden(ids, torch.ones_like(ids))[:, :-1]).float()
        total += cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
        count += ids[:, 1:].numel()
    mean = total / count
    return (math.exp(mean) if mean < 700 else math.inf if mean == mean else math.nan), count
