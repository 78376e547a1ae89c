"""FT: gradient descent on one down-projection until the new object is probable (baseline of arXiv 2210.07229)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import EditorSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(EditorSettings):
    """Settings of FT. Defaults are those of the ROME and MEMIT code: 25 Adam steps of 5e-4, no weight decay."""

    steps: int = Field(25, ge=1, description="Most Adam steps for one call")
    learning_rate: float = Field(5e-4, gt=0, description="Adam step")
    weight_decay: float = Field(0.0, ge=0, description="Adam's L2 penalty")
    stop_loss: float = Field(1e-2, ge=0, description="Training ends when the batch's loss falls below this")


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.finetune.fine_tuning import FineTuning

    return FineTuning(settings)
