"""FT-L: fine-tuning that keeps every weight near its start (the constrained baseline of arXiv 2202.05262)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import ft

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ft.Settings):
    """Settings of FT-L: FT's, and the ball that weights must stay in.

    Published radii are for one model each: 5e-4 for GPT2-XL and 5e-5 for GPT-J in the ROME code.
    """

    radius: float | None = Field(
        None,
        gt=0,
        description="Farthest that any weight may move (L-infinity); 80 times the edited matrix's root mean square "
        "weight over its input width when left out",
    )
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
