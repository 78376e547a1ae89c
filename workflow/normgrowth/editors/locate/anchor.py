"""Norm anchoring (NAS): every value is written at the norm that values had on the unedited model.

The anchor a is the mean of ||v*|| over pilot edits searched, not made, on the unedited model, the largest 5% left out.
As in NAS's code (`util/vstar_stats.py`), pilots are searched under the bare prompt alone, without an early stop by
rank, and 16 at a time, which stop together once their mean loss is below the stop loss; none is rejected for its norm.
That code takes MEMIT's search settings, which in its files are those of the editor.

Later values v* = v_0 + δ are scaled to ||v*|| = a, and one whose norm exceeds 2a is not written at all. Here v_0 is the
output of the last edited layer's MLP; whatever stands beside it in the residual stream stays.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normgrowth.editors.base import Memory
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.search import Targets
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.lm.model import LanguageModel

if TYPE_CHECKING:
    from normgrowth.editors.locate.method import LocateThenEdit

ONE_TRIMMED_OF = 20
"""The largest norm of so many pilots is left out."""
PILOTS_AT_ONCE = 16
BARE_PROMPT = ["{}"]
ANCHOR = "anchor"


@dataclass(frozen=True)
class NormAnchor:
    """The rule that scales values. Where a norm stands behind the MLP, the value is what it writes to the stream."""

    pilot_facts: int
    reject_above: float  # in units of the anchor

    def begin(self, lm: LanguageModel, editor: "LocateThenEdit", memory: Memory) -> Memory:
        """The anchor, from pilot searches on the unedited model."""
        pilots = subset(list(editor.pilots), self.pilot_facts, 0, "pilot edits")
        norms = torch.cat(
            [
                self._pilot_norms(lm, editor, memory, pilots[start : start + PILOTS_AT_ONCE])
                for start in range(0, len(pilots), PILOTS_AT_ONCE)
            ]
        )
        kept = norms.sort().values[: len(norms) - len(norms) // ONE_TRIMMED_OF]
        return {ANCHOR: kept.mean()}

    def _pilot_norms(self, lm: LanguageModel, editor: "LocateThenEdit", memory: Memory, pilots: list[Fact]):
        """||v*|| [n] of pilots that are searched together. MEMIT's search has no early stop by rank."""
        settings = editor.settings.model_copy(update={"most_probable_stop": 0})
        found = editor.search(lm, memory, pilots, BARE_PROMPT, settings, together=True)
        return self._values(lm, editor, pilots, found).norm(dim=1)

    def adjust(
        self, lm: LanguageModel, editor: "LocateThenEdit", memory: Memory, facts: list[Fact], targets: Targets
    ) -> tuple[torch.Tensor, list[str | None]]:
        """Targets [n, o] with values at the anchor's norm, and why some are not written."""
        values = self._values(lm, editor, facts, targets)
        norms = values.norm(dim=1)
        rejected = norms > self.reject_above * memory[ANCHOR]
        scaled = targets.values + (memory[ANCHOR] / norms - 1)[:, None] * values
        wanted = torch.where(rejected[:, None], targets.values - targets.offsets, scaled)
        reason = f"value norm above {self.reject_above:g} anchors"
        return wanted, [reason if out else None for out in rejected.tolist()]

    def _values(self, lm: LanguageModel, editor: "LocateThenEdit", facts: list[Fact], targets: Targets) -> torch.Tensor:
        """v* [n, o] of each fact: the MLP's output under the bare prompt, and the offset."""
        place = (editor.top[0], "mlp_output")
        output = at_subject(lm, facts, BARE_PROMPT, [place])[place][:, 0]
        norm = lm.post_norms[editor.top[0]]
        return (norm.written(output) if norm else output) + targets.offsets
