"""Activations at the subject's last token, under every context: where locate-then-edit methods read keys and values."""

import torch

from normgrowth.editors.locate.prefix import ROWS_TO_FREEZE
from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import Place, reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode, fill, last_token_of


@torch.no_grad()
def at_subject(
    lm: LanguageModel, facts: list[Fact], contexts: list[str], places: list[Place]
) -> dict[Place, torch.Tensor]:
    """Activations [n, contexts, width] of each place, in float32, under the current weights."""
    rows, last = [], []
    for fact in facts:
        for context in contexts:
            text, span = fill(context, fact.question, fact.subject_span)
            encoded = encode(lm.tokenizer, text)
            position = last_token_of(encoded, span)
            # Tokens after the subject cannot affect it: attention is causal.
            rows.append(encoded.ids[: position + 1])
            last.append(position)
    found: dict[Place, torch.Tensor] = {}
    order = sorted(range(len(rows)), key=last.__getitem__)  # by length, so that little is padded
    for start in range(0, len(rows), ROWS_TO_FREEZE):
        part = order[start : start + ROWS_TO_FREEZE]
        ids, mask = lm.pad([rows[i] for i in part])
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, mask)
        at = torch.arange(len(part), device=lm.device), torch.tensor([last[i] for i in part], device=lm.device)
        for place in places:
            values = seen[place][at].float()
            if place not in found:
                found[place] = values.new_empty(len(rows), values.shape[1])
            found[place][part] = values
    return {place: values.unflatten(0, (len(facts), len(contexts))) for place, values in found.items()}


def mean_over_contexts(values: torch.Tensor, grouped: bool) -> torch.Tensor:
    """Mean [n, width] of values [n, contexts, width]: plain, or with one half on the bare prompt, which comes first.

    MEMIT and its relatives take the mean of two groups, the bare prompt alone and all others (its code, compute_ks).
    """
    count = values.shape[1]
    weights = torch.full((count,), 1.0 / count, device=values.device)
    if grouped and count > 1:
        weights = torch.full((count,), 0.5 / (count - 1), device=values.device)
        weights[0] = 0.5
    return torch.einsum("c,ncd->nd", weights, values)
