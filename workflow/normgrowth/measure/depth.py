"""Norms by depth: the residual stream behind every block, and the part of it that the block's MLP has just written."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode, last_token_of

PROMPTS_PER_PASS = 8


class NormsByDepth(NamedTuple):
    """Means over prompts, by layer."""

    residual: tuple[float, ...]  # norm of a block's output, over all tokens but a prompt's first
    residual_at_subject: tuple[float, ...]  # at the subject's last token
    mlp_share: tuple[float, ...]  # norm of what the MLP writes, in units of the stream's, at the subject's last token


@torch.no_grad()
def norms_by_depth(lm: LanguageModel, facts: Sequence[Fact]) -> NormsByDepth:
    """Norms on the prompts of facts.

    A prompt's first token is left out, since many models have an outlier there. Where a norm stands behind the MLPs,
    what it gives is what the MLP writes.
    """
    layers = range(lm.anatomy.n_layers)
    places = [(layer, site) for layer in layers for site in ("residual", "mlp_output")]
    stream, at_subject, shares = (torch.zeros(len(layers), dtype=torch.float64) for _ in range(3))
    tokens = 0
    for start in range(0, len(facts), PROMPTS_PER_PASS):
        part = facts[start : start + PROMPTS_PER_PASS]
        encoded = [encode(lm.tokenizer, fact.question) for fact in part]
        last = torch.tensor([last_token_of(e, fact.subject_span) for e, fact in zip(encoded, part, strict=True)])
        ids, mask = lm.pad([e.ids for e in encoded])
        with reading(lm.anatomy, places) as seen:
            lm.hidden(ids, mask)
        rows, counted = torch.arange(len(part)), mask[:, 1:].bool().cpu()
        tokens += int(counted.sum())
        for layer in layers:
            norms = seen[layer, "residual"].double().norm(dim=-1).cpu()  # [rows, tokens]
            written = seen[layer, "mlp_output"][rows, last]  # [rows, width]
            if norm := lm.post_norms[layer]:
                written = norm.written(written)
            stream[layer] += norms[:, 1:][counted].sum()
            at_subject[layer] += norms[rows, last].sum()
            shares[layer] += (written.double().norm(dim=-1).cpu() / norms[rows, last]).sum()
    stream /= max(1, tokens)
    return NormsByDepth(*(tuple(values.tolist()) for values in (stream, at_subject / len(facts), shares / len(facts))))
