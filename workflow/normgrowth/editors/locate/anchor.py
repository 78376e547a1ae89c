"""Norm anchoring (NAS, arXiv 2602.02543): every value is written at the norm that values had on the unedited model.

The anchor a is the mean of ||v*|| over pilot edits searched, not made, on the unedited model, the largest 5% left out.
As in NAS's code (`util/vstar_stats.py`), pilots are searched under the bare prompt alone, without an early stop by
rank, and 16 at a time, which stop together once their mean loss is below the stop loss; none is rejected for its norm.
That code takes MEMIT's search settings, which in its files are those of the editor.

Later values v* = v_0 + δ are scaled to ||v*|| = a, and one whose norm exceeds 2a is not written at all. Here v_0 is the
output of the last edited layer's MLP; whatever stands beside it in the residual stream stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.search import Search, Targets, search_targets
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.lm.model import LanguageModel

PILOTS_PER_TRIMMED = 20
"""Pilots per trimmed one; those with the largest norms are trimmed."""

PILOTS_AT_ONCE = 16
BARE_PROMPT = ["{}"]


@dataclass(frozen=True)
class NormAnchor:
    """Rule that scales values to the anchor. Where a norm follows the MLP, the value is the normed output."""

    pilot_facts: int
    reject_above: float  # in units of the anchor

    def of_pilots(self, lm: LanguageModel, facts: Sequence[Fact], search: Search) -> torch.Tensor:
        """The anchor, a scalar tensor, from pilot searches on the unedited model for a subset of the facts."""
        pilots = subset(list(facts), self.pilot_facts, 0, "pilot edits")
        # MEMIT's search, which NAS's code uses for pilots, has no early stop by rank.
        settings = search.settings.model_copy(update={"most_probable_stop": 0})
        search = replace(search, settings=settings, together=True)
        norms = []
        for start in range(0, len(pilots), PILOTS_AT_ONCE):
            part = pilots[start : start + PILOTS_AT_ONCE]
            found = search_targets(lm, part, BARE_PROMPT, search)
            norms.append(_values(lm, search.places[-1][0], part, found).norm(dim=1))
        all_norms = torch.cat(norms)
        kept = all_norms.sort().values[: len(all_norms) - len(all_norms) // PILOTS_PER_TRIMMED]
        return kept.mean()

    def adjust(
        self, lm: LanguageModel, layer: int, anchor: torch.Tensor, facts: list[Fact], targets: Targets
    ) -> tuple[torch.Tensor, list[str | None]]:
        """Targets [n, o] with values scaled to the anchor's norm; by fact, the reason not to write it, or None."""
        values = _values(lm, layer, facts, targets)
        norms = values.norm(dim=1)
        rejected = norms > self.reject_above * anchor
        scaled = targets.values + (anchor / norms - 1)[:, None] * values
        wanted = torch.where(rejected[:, None], targets.values - targets.offsets, scaled)
        reason = f"value norm above {self.reject_above:g} anchors"
        return wanted, [reason if out else None for out in rejected.tolist()]


def _values(lm: LanguageModel, layer: int, facts: list[Fact], targets: Targets) -> torch.Tensor:
    """v* [n, o] of each fact: the MLP's output under the bare prompt plus the offset."""
    place = (layer, "mlp_output")
    output = at_subject(lm, facts, BARE_PROMPT, [place])[place][:, 0]
    norm = lm.post_norms[layer]
    return (norm.written(output) if norm else output) + targets.offsets
