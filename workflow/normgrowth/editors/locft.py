"""LocFT-BF: fine-tuning of one down-projection over all facts edited so far, epoch by epoch (arXiv 2509.22072).

"Localised" because one matrix is trained, "breadth-first" because every epoch goes over all facts before any is seen
again, where FT drives one fact down before the next. It needs every earlier fact at hand, and its cost grows with the
run.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import EpochwiseSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(EpochwiseSettings):
    """Settings of LocFT-BF. Published: Adam 5e-4 (5e-5 for a whole layer of Mistral), 25 epochs in minibatches of 100,
    stop at a loss of 0.01, layer 22 of Llama-3's 32, 6 of Qwen2.5's 28."""

    batch: int = Field(10, ge=1, description="Facts added in one call of the editor, which trains on all so far")
    epochs: int = Field(25, ge=1, description="Most epochs of one call, each over all facts so far")
    minibatch: int = Field(100, ge=1, description="Facts of one Adam step")
    end_token: bool = Field(
        True, description="Train the end-of-text token after every object too, so that free text ends there"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """One layer, seven tenths of the way up: 22 of 32, as published for Llama-3."""
        return (7 * n_layers // 10,)


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.finetune.replay import ReplayedFineTuning

    return ReplayedFineTuning(settings)
