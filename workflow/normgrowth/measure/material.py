"""What checkpoints are measured on: probes, text, and facts that stay untouched."""

from dataclasses import dataclass
from pathlib import Path

import torch

from normgrowth.assets.text import windows
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.measure.activations import Probes, make_probes


@dataclass(frozen=True)
class Material:
    """What checkpoints are measured on: the same for every run of a model.

    `order` is the run's edit order; `settings` are those of the study's section `measure`.
    """

    facts: list[Fact]
    order: list[Fact]
    text: Path
    heldout: Path | None
    seed: int
    settings: dict

    def probes(self, lm: LanguageModel) -> Probes:
        """Fact prompts and windows of text whose activations are followed."""
        window, count = self.settings["text_window"], self.settings["text_probes"]
        text = windows(self.text, lm.tokenizer, window, count, self.seed, "activation probes")
        return make_probes(lm, subset(self.facts, self.settings["fact_probes"], self.seed, "activation probes"), text)

    def heldout_windows(self, lm: LanguageModel) -> torch.Tensor:
        """Windows of held-out text [count, length] for perplexity."""
        length = self.settings["text_window"]
        count = -(-self.settings["perplexity_tokens"] // length)
        return windows(self.heldout, lm.tokenizer, length, count, self.seed, "perplexity")

    def untouched(self, step: int) -> list[Fact]:
        """Facts at the end of the order: the same at every step that has not reached them."""
        wanted = self.settings["untouched_facts"]
        return self.order[max(step, len(self.order) - wanted) :] if wanted else []
