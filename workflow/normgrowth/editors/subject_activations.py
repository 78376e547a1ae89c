"""Activations at the subject's last token, under every context: where locate-then-edit methods read keys and values."""

import torch

from normgrowth.capture import Place, reading
from normgrowth.editors.targets import ROWS_PER_PASS
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode, fill, last_token_of


@torch.no_grad()
def at_subject(
    lm: LanguageModel, facts: list[Fact], contexts: list[str], places: list[Place]
) -> dict[Place, torch.Tensor]:
    """Activations [n, contexts, width] of each place, in float32, under the current weights."""
    found: dict[Place, list[torch.Tensor]] = {place: [] for place in places}
    per_pass = max(1, ROWS_PER_PASS // len(contexts))
    for start in range(0, len(facts), per_pass):
        part = facts[start : start + per_pass]
        rows, subject_last = [], []
        for fact in part:
            for context in contexts:
                text, span = fill(context, fact.question, fact.subject_span)
                encoded = encode(lm.tokenizer, text)
                position = last_token_of(encoded, span)
                # What follows the subject cannot reach it: attention is causal.
                rows.append(encoded.ids[: position + 1])
                subject_last.append(position)
        ids, mask = lm.pad(rows)
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, mask)
        every_row = torch.arange(len(rows), device=lm.device)
        at = torch.tensor(subject_last, device=lm.device)
        for place in places:
            found[place].append(seen[place][every_row, at].float().unflatten(0, (len(part), len(contexts))))
    return {place: torch.cat(parts) for place, parts in found.items()}


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
