"""Internal activations on fixed probes, and their norm and direction against the unedited model.

Probes are prompts of facts, measured at the subject's last and at the last token, and windows of running text, measured
at a few positions of each, and as the mean over a window (never at the first token, where many models keep an outlier
of their own).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import SITES, reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode, last_token_of

POSITIONS_PER_WINDOW = 4
ROWS_PER_PASS = 64
MEMORY = 2**31
"""Bytes of activations held at once: models too deep for it are measured a few layers at a time."""


class Where(NamedTuple):
    """Where a set of activations is from.

    `token` is `subject_last` or `last` of facts, and of text `all` (a few positions of every window) or `mean`
    (over a window).
    """

    probe: str
    token: str
    layer: int
    site: str

    @property
    def per_probe(self) -> int:
        """Vectors that one probe gives; they share a context and are not independent."""
        return POSITIONS_PER_WINDOW if self.token == "all" else 1


Activations = dict[Where, torch.Tensor]
"""Vectors [n, width] in float32."""


@dataclass(frozen=True)
class Probes:
    """Token ids to run, and where to look in each row."""

    facts: list[tuple[int, ...]]
    subject_last: list[int]
    text: torch.Tensor  # [windows, tokens]

    def vectors(self) -> int:
        """Vectors that one layer and site give."""
        return 2 * len(self.facts) + (POSITIONS_PER_WINDOW + 1) * len(self.text)


def make_probes(lm: LanguageModel, facts: list[Fact], text: torch.Tensor) -> Probes:
    """Probes from facts' prompts and windows of text."""
    encoded = [encode(lm.tokenizer, fact.question) for fact in facts]
    subject_last = [last_token_of(e, fact.subject_span) for e, fact in zip(encoded, facts, strict=True)]
    return Probes([e.ids for e in encoded], subject_last, text)


def layer_groups(lm: LanguageModel, probes: Probes) -> Iterator[range]:
    """Consecutive layers whose activations, of two models, fit into `MEMORY`."""
    widths = [3 * lm.anatomy.hidden_size + p.matrix.shape[1] for p in lm.anatomy.down_projections]
    per_layer = 2 * 4 * probes.vectors() * max(widths)
    at_once = max(1, MEMORY // per_layer)
    for start in range(0, lm.anatomy.n_layers, at_once):
        yield range(start, min(start + at_once, lm.anatomy.n_layers))


@torch.no_grad()
def activations_on(
    lm: LanguageModel, probes: Probes, layers: Sequence[int], sites: Sequence[str] = SITES
) -> Activations:
    """Activations at some layers and sites, under the current weights."""
    places = [(layer, site) for layer in layers for site in sites]
    parts: dict[Where, list[torch.Tensor]] = {}

    def run(ids: torch.Tensor, mask: torch.Tensor) -> dict:
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, mask)
        return seen

    def keep(probe: str, token: str, place: tuple[int, str], vectors: torch.Tensor) -> None:
        parts.setdefault(Where(probe, token, *place), []).append(vectors.float().cpu())

    for start in range(0, len(probes.facts), ROWS_PER_PASS):
        rows = probes.facts[start : start + ROWS_PER_PASS]
        each = torch.arange(len(rows), device=lm.device)
        last = torch.tensor([len(row) - 1 for row in rows], device=lm.device)
        subject_last = torch.tensor(probes.subject_last[start : start + ROWS_PER_PASS], device=lm.device)
        for place, activation in run(*lm.pad(rows)).items():
            keep("facts", "subject_last", place, activation[each, subject_last])
            keep("facts", "last", place, activation[each, last])
    spread = torch.linspace(0, probes.text.shape[1] - 1, POSITIONS_PER_WINDOW + 1)[1:].long()
    for ids in probes.text.split(ROWS_PER_PASS):
        ids = ids.to(lm.device)
        for place, activation in run(ids, torch.ones_like(ids)).items():
            keep("text", "all", place, activation[:, spread.to(lm.device)].flatten(0, 1))
            keep("text", "mean", place, activation[:, 1:].mean(dim=1))
    return {where: torch.cat(vectors) for where, vectors in parts.items()}


def compare_norms(where: Where, now: torch.Tensor, before: torch.Tensor, residual: torch.Tensor) -> dict:
    """The values of a row of table `activations`.

    Standard deviations (but `norm_std`) are over units, which are prompts or windows: the vectors of one window share
    its context, so their mean counts as one value. A deviation over sqrt(units) is the standard error of the mean.

    Args:
        now, before: the activations [n, width] of the model and of the unedited one; those of one unit are consecutive.
        residual: the residual stream [n, hidden] of the model at the same layer and tokens.
    """
    norm, norm_before = now.norm(dim=1), before.norm(dim=1)
    ratio = norm / norm_before
    ratio_of_means = norm.mean() / norm_before.mean()
    cosine = torch.nn.functional.cosine_similarity(now, before, dim=1)
    # Keys have another width and are not part of the stream.
    share = None if where.site == "mlp_key" else (norm / residual.norm(dim=1)).mean().item()
    return {
        "n": len(now),
        "units": len(now) // where.per_probe,
        "norm_mean": norm.mean().item(),
        "norm_std": _spread(norm),
        "norm_ratio": ratio.mean().item(),
        "norm_ratio_std": _spread(ratio, where.per_probe),
        "ratio_of_norms": ratio_of_means.item(),
        # A ratio of means varies as the mean of (x - R y) / mean(y), to first order.
        "ratio_of_norms_std": _spread((norm - ratio_of_means * norm_before) / norm_before.mean(), where.per_probe),
        "cosine_to_unedited": cosine.mean().item(),
        "cosine_std": _spread(cosine, where.per_probe),
        "share_of_residual": share,
    }


def _spread(values: torch.Tensor, per_unit: int = 1) -> float:
    """Standard deviation over units of the means of their values [units * per_unit]; NaN of a single unit."""
    means = values.view(-1, per_unit).mean(dim=1)
    return means.std().item() if len(means) > 1 else float("nan")
