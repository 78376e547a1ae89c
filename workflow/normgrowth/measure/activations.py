"""Norm and direction of internal activations on fixed probes, against the unedited model.

Probes are prompts of facts, measured at the subject's last and at the last token, and windows of running text, measured
at a few positions of each (never at the first, where many models keep an outlier of their own).
"""

from dataclasses import dataclass

import pandas as pd
import torch

from normgrowth.capture import SITES, reading
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode, last_token_of

POSITIONS_PER_WINDOW = 4
ROWS_PER_PASS = 64

Activations = dict[tuple[str, str, int, str], torch.Tensor]
"""Vectors [n, width] in float32 by (probe, token, layer, site)."""


@dataclass(frozen=True)
class Probes:
    """Token ids to run, and where to look in each row."""

    facts: list[tuple[int, ...]]
    subject_last: list[int]
    text: torch.Tensor  # [windows, tokens]


def make_probes(lm: LanguageModel, facts: list[Fact], text: torch.Tensor) -> Probes:
    """Probes from facts' prompts and windows of text."""
    encoded = [encode(lm.tokenizer, fact.question) for fact in facts]
    subject_last = [last_token_of(e, fact.subject_span) for e, fact in zip(encoded, facts, strict=True)]
    return Probes([e.ids for e in encoded], subject_last, text)


@torch.no_grad()
def activations_on(lm: LanguageModel, probes: Probes) -> Activations:
    """Activations at all layers and sites, under the current weights."""
    places = [(layer, site) for layer in range(lm.anatomy.n_layers) for site in SITES]
    parts: dict[tuple, list[torch.Tensor]] = {}

    def collect(ids: torch.Tensor, mask: torch.Tensor, wanted: dict[tuple[str, str], torch.Tensor]) -> None:
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, mask)
        every_row = torch.arange(len(ids), device=ids.device)[:, None]
        for (probe, token), positions in wanted.items():
            for (layer, site), activation in seen.items():
                vectors = activation[every_row, positions.to(ids.device)].flatten(0, 1)
                parts.setdefault((probe, token, layer, site), []).append(vectors.float().cpu())

    for start in range(0, len(probes.facts), ROWS_PER_PASS):
        rows = probes.facts[start : start + ROWS_PER_PASS]
        ids, mask = lm.pad(rows)
        subject_last = torch.tensor(probes.subject_last[start : start + ROWS_PER_PASS])[:, None]
        last = torch.tensor([len(row) - 1 for row in rows])[:, None]
        collect(ids, mask, {("facts", "subject_last"): subject_last, ("facts", "last"): last})
    length = probes.text.shape[1]
    spread = torch.linspace(0, length - 1, POSITIONS_PER_WINDOW + 1)[1:].long()
    for ids in probes.text.split(ROWS_PER_PASS):
        ids = ids.to(lm.device)
        collect(ids, torch.ones_like(ids), {("text", "all"): spread.expand(len(ids), -1)})
    return {key: torch.cat(vectors) for key, vectors in parts.items()}


def compare(now: Activations, unedited: Activations) -> pd.DataFrame:
    """One row per probe, token, layer and site, with the columns of table `activations` (without names of the run).

    Standard deviations are over vectors, so that mean and std and n give an interval.
    """
    rows = []
    for (probe, token, layer, site), vectors in now.items():
        before = unedited[probe, token, layer, site]
        norm, norm_before = vectors.norm(dim=1), before.norm(dim=1)
        ratio = norm / norm_before
        cosine = torch.nn.functional.cosine_similarity(vectors, before, dim=1)
        share = None
        if site != "mlp_key":
            share = (norm / now[probe, token, layer, "residual"].norm(dim=1)).mean().item()
        rows.append(
            {
                "layer": layer,
                "site": site,
                "probe": probe,
                "token": token,
                "n": len(vectors),
                "norm_mean": norm.mean().item(),
                "norm_std": norm.std().item(),
                "norm_ratio": ratio.mean().item(),
                "norm_ratio_std": ratio.std().item(),
                "cosine_to_unedited": cosine.mean().item(),
                "cosine_std": cosine.std().item(),
                "share_of_residual": share,
            }
        )
    return pd.DataFrame(rows)
