"""LoRA: fine-tuning of one low-rank adapter, kept from edit to edit and merged after each (arXiv 2106.09685)."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from normgrowth.editors.settings import EditorSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(EditorSettings):
    """Settings of LoRA. Defaults are those of EasyEdit's LoRA editor, on the down-projections, with a plain adapter."""

    libraries: ClassVar[tuple[str, ...]] = ("peft",)
    keeps_adapter: ClassVar[bool] = True

    rank: int = Field(8, ge=1, description="Rank of the adapter")
    alpha: float = Field(32.0, gt=0, description="Numerator of the adapter's scale, alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs left out in training")
    steps: int = Field(50, ge=1, description="Most Adam steps for one call")
    learning_rate: float = Field(5e-3, gt=0, description="Adam step")
    stop_loss: float = Field(
        1e-2,
        ge=0,
        description="Training ends when the batch's loss falls below this; 0: no early end, as in EasyEdit",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.finetune.adapters import LoraEditing

    return LoraEditing(settings)
