"""Material of measurements: probes, text, and facts that stay untouched."""

from dataclasses import dataclass
from pathlib import Path

import torch

from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.facts.streams import first_edits
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_prompts, require_windows
from normgrowth.measure.activations import Probes, make_probes
from normgrowth.measure.measure_settings import Measure
from normgrowth.sources.text import windows


@dataclass(frozen=True)
class Material:
    """Material that checkpoints are measured on: the same for every run of a model, but for the edit order."""

    facts: list[Fact]
    order: list[Fact]  # the edits of the run's order, step by step, beyond those made
    text: Path  # source of the probes' windows
    heldout: Path | None  # text for perplexity; None where that is not measured
    seed: int
    measure: Measure  # the study's section `measure`

    def probes(self, lm: LanguageModel) -> Probes:
        """Fact prompts and windows of text whose activations are followed."""
        window, count = self.measure.text_window, self.measure.text_probes
        text = windows(self.text, lm.tokenizer, window, count, self.seed, "activation probes")
        return make_probes(lm, self.probed_facts(), text)

    def probed_facts(self) -> list[Fact]:
        """The facts whose prompts are probes."""
        return subset(self.facts, self.measure.fact_probes, self.seed, "activation probes")

    def heldout_windows(self, lm: LanguageModel) -> torch.Tensor:
        """Windows of held-out text [count, length] for perplexity.

        Raises:
            ValueError: when the material has no held-out text.
        """
        if self.heldout is None:
            raise ValueError("perplexity is measured on held-out text, and this material has none")
        length = self.measure.text_window
        count = -(-self.measure.perplexity_tokens // length)
        return windows(self.heldout, lm.tokenizer, length, count, self.seed, "perplexity")

    def untouched(self, step: int) -> list[Fact]:
        """Facts at the end of the order: the same at every step before they are edited."""
        wanted, facts = self.measure.untouched_facts, first_edits(self.order)
        edited = len(first_edits(self.order[:step]))
        return facts[max(edited, len(facts) - wanted) :] if wanted else []


def require_material(lm: LanguageModel, material: Material) -> None:
    """Refuse probes and windows of text that are longer than the model's context.

    Raises:
        ModelError: naming the key of the study, its value and the context's length.
        FactError: naming the case whose prompt is too long.
    """
    require_windows(lm, {"measure.text_window": material.measure.text_window})
    for fact in material.probed_facts():
        require_prompts(lm, fact, [f"{fact.question} "])
