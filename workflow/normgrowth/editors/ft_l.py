"""FT-L: fine-tuning that keeps every weight near its start (the constrained baseline of arXiv 2202.05262)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import ft

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ft.Settings):
    """Settings of FT-L: FT's, and the ball that weights must stay in; radius 5e-4 is the ROME code's for GPT2-XL."""

    radius: float = Field(5e-4, gt=0, description="Farthest that any weight may move (L-infinity)")
    recentre: bool = Field(
        False,
        description="Centre the ball on the weights before each call, not the unedited ones, as published code does; "
        "the drift of a run is then bounded by its number of calls alone",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.finetune.fine_tuning import Ball, FineTuning

    return FineTuning(settings, Ball(settings.radius, settings.recentre))
